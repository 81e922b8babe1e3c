"""Files of SQLite that do something when a database is opened or read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

SCHEMAS = {
    "view": "ALTER TABLE version_info RENAME TO x; CREATE VIEW version_info AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT x.* FROM x, n WHERE i < 0;",
    "trigger": "CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END;",
    "virtual table": "CREATE VIRTUAL TABLE t USING fts5(x);",
    "generated column": "ALTER TABLE trials ADD COLUMN x GENERATED ALWAYS AS (hex(zeroblob(1000000)));",
    "constraint": "CREATE TABLE t (x CHECK (x LIKE '%a%a%a%a%b'));",
    "index": "CREATE INDEX t ON trials (hex(zeroblob(1000000)));",
}


def journal_that_names(path: Path, database: Path) -> bytes:
    """A journal of SQLite that restores the first page, and names a journal of several databases."""
    magic, page = bytes.fromhex("d9d505f920a163d7"), database.read_bytes()[:4096]
    head = magic + struct.pack(">5I", 1, 0, database.stat().st_size // 4096, 512, 4096)
    record = (
        struct.pack(">I", 1) + page + struct.pack(">I", sum(page[place] for place in range(3896, 0, -200)))
    )
    name = os.fsencode(path)
    numbers = struct.pack(">I", 0x40000000 // 4096 + 1), struct.pack(">2I", len(name), sum(name))
    return head.ljust(512, b"\0") + record + numbers[0] + name + numbers[1] + magic
