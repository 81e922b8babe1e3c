"""SQLite files that somebody else may have made: what opening or reading them could do besides.

SQLite runs the expressions of a schema, and follows what the files beside the database say.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from pathlib import Path

from sasrecf_tune.storage.database.optuna_internals import TABLES

# Bytes of one value, which is a JSON text; the longest that a search writes is a curve of some 100 kB.
_MOST_BYTES = 1 << 24
# The end of a journal that names another one, of several databases that were changed at once: SQLite deletes
# the file of that name after a rollback (sqlite.org/fileformat.html; pager.c, pager_delsuper).
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
_COMPANIONS = ("-journal", "-wal", "-shm")
# Constraints that Optuna's tables have had.
_PLAIN_CHECK = re.compile(r"CHECK \((\w+ ?= ?\d+|\w+ IN \([^()]*\))\)", re.IGNORECASE)
_PLAIN_INDEX = re.compile(r'CREATE (UNIQUE )?INDEX [\w"]+ ON [\w"]+ \([\w", ]+\)', re.IGNORECASE)
_EXPRESSION = re.compile(r"\b(CHECK|GENERATED|AS|VIRTUAL|SELECT)\b", re.IGNORECASE)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading and writing, of which no huge value is read; create it if it is missing."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    return connection


def odd_companion(path: Path) -> tuple[Path, str] | None:
    """A file beside the database that SQLite must not use, and why; None if there is none."""
    # SQLite looks for them beside the file that a link leads to.
    target = path.resolve()
    for end in _COMPANIONS:
        companion = target.with_name(target.name + end)
        try:
            found = companion.lstat()
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            return companion, "it is a link or not a regular file"
        if end == "-journal" and _end_of(companion, len(_NAMES_ANOTHER)) == _NAMES_ANOTHER:
            return companion, "it names another file, which SQLite would delete"
    return None


def odd_schema(connection: sqlite3.Connection) -> str:
    """What a database has that Optuna does not create, and that computes something when it is read; or ""."""
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        text = _PLAIN_CHECK.sub("", str(sql or ""))
        if kind == "view" and name.lower() not in TABLES:
            continue  # nothing reads it
        if kind not in ("table", "index"):
            return f"the {kind} {name}"
        if (kind == "table" and _EXPRESSION.search(text)) or (
            kind == "index" and text and not _PLAIN_INDEX.fullmatch(text)
        ):
            return f"an expression in the {kind} {name}"
    return ""


def _end_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)
