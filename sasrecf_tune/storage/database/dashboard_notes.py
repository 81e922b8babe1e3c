"""Notes on trials, in Markdown, as optuna-dashboard stores them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# optuna_dashboard/_note.py, SYSTEM_ATTR_MAX_LENGTH: a note is stored in pieces of so many characters.
_PIECE = 2045
_LINES = 25
_LAST_BYTES = 8192
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def note_key(trial_id: int) -> str:
    """The system attribute of the study that marks a note on a trial, by the trial's ID in the database."""
    return f"dashboard:{trial_id}:note_ver"


def note_attributes(trial_id: int, text: str) -> Mapping[str, Any]:
    """The system attributes of the study that store the first note on a trial."""
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return {note_key(trial_id): 1} | {
        f"dashboard:{trial_id}:note_str:{index}": piece for index, piece in enumerate(pieces)
    }


def failure_note(reason: str, log: Path) -> str:
    """The note on a failed trial: the reason, the path of its log, and the log's last lines."""
    lines = _last_lines(log)
    # Longer than any fence in the log, so that the log is shown verbatim.
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", lines))])
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(reason.split()))
    return f"**{escaped}**\n\nThe end of `{log.parent.name}/{log.name}`:\n\n{fence}text\n{lines}\n{fence}\n"


def _last_lines(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            text = file.read(_LAST_BYTES).decode(errors="replace")
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    return "\n".join(_CONTROL.sub(" ", _COLOUR.sub("", text)).strip().splitlines()[-_LINES:]) or "(empty)"
