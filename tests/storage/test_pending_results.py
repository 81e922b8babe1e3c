from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from sasrecf_tune.errors import StorageError
from sasrecf_tune.messages import Result
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import PendingResult, replay_pending
from tests.support.peer import result


@pytest.mark.parametrize("old_name", [False, True])
def test_a_pending_result_is_recorded_and_removed(tmp_path: Path, old_name: bool) -> None:
    study_dir = StudyDirectory(tmp_path)
    PendingResult(study_dir, result(3, 0.7), "me").keep()
    (path,) = tmp_path.iterdir()
    assert path.name == "trial-0003.pending.json"
    if old_name:  # as earlier versions wrote it
        path.rename(tmp_path / "trial-0003.untold.json")
    recorded: list[tuple[int, Result, str]] = []
    said: list[str] = []
    answers = [None, True]

    def record(number: int, outcome: Result, owner: str) -> bool | None:
        recorded.append((number, outcome, owner))
        return answers.pop(0)

    replay_pending(study_dir, record, said.append)
    assert study_dir.pending_results() and not said  # it is not known yet whether it is needed
    replay_pending(study_dir, record, said.append)
    assert recorded == [(3, result(3, 0.7), "me")] * 2
    assert not list(tmp_path.iterdir()) and len(said) == 1


KEPT = asdict(result(3, 0.7)) | {"decision": "continue", "owner": "me"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        "\xff",
        *(
            json.dumps(KEPT | change)
            for change in (
                {"owner": 1},
                {"number": 4},
                {"number": -1},
                {"valid": {"mrr@10": "x"}},
                {"decision": "x"},
                {"best_epoch": 10**9, "epochs": 10**9},
                {"notes": 1},
            )
        ),
    ],
)
def test_a_pending_result_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial-0003.pending.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StorageError, match=r"trial-0003\.pending\.json: cannot be read: (it|a|the) "):
        replay_pending(StudyDirectory(tmp_path), lambda *_: True, print)


def test_a_pipe_in_place_of_a_pending_result_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trial-0003.pending.json")
    with pytest.raises(StorageError, match="not a regular file"):
        replay_pending(StudyDirectory(tmp_path), lambda *_: True, print)


def test_the_only_coordinator_keeps_nothing(tmp_path: Path) -> None:
    PendingResult(StudyDirectory(tmp_path), result(3, 0.7), "").keep()
    assert not list(tmp_path.iterdir())
