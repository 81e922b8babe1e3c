"""What a user reads of a trial that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sasrecf_tune.engine.recording_trainer import NOT_A_NUMBER
from sasrecf_tune.errors import DataError, UnknownReasonError
from sasrecf_tune.training.failure_reason import FusedTrialsError, error_text, failure_kind, failure_reason

LOG = Path("/somewhere/logs/trial-3.log")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(NOT_A_NUMBER), "the training loss became NaN"),
        (MemoryError("of it"), "out of memory"),
        (DataError("no rows", where="x.inter"), "x.inter: no rows"),
        (
            RuntimeError("index 3 is out of bounds"),
            "the reason is not known: logs/trial-3.log has the traceback",
        ),
        (UnknownReasonError("RecBole rejects this configuration"), "logs/trial-3.log has the traceback"),
        (FusedTrialsError(RuntimeError("index 3 is out of bounds"), 2), "an error in 2 trials"),
    ],
)
def test_the_reason_is_in_words(error: Exception, said: str) -> None:
    reason = failure_reason(error, failure_kind(error), LOG)
    assert said in reason
    assert "index 3" not in reason and "Error" not in reason


def test_errors_that_are_not_known_are_told_apart_by_type_and_text() -> None:
    errors = [KeyError("a"), IndexError("a"), IndexError("b"), MemoryError("a")]
    texts = [error_text(error, failure_kind(error)) for error in errors]
    assert texts == ["KeyError: 'a'", "IndexError: a", "IndexError: b", ""]
