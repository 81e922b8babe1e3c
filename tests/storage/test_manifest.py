"""The commands that manifest.json holds."""

from __future__ import annotations

from typing import Any

import pytest

from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest, write_manifest


def test_the_command_that_began_the_study_stays(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*words: str, trains: bool = True) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["sasrecf-tune", *words])
        write_manifest(study_dir, {"study": "study"}, trains=trains)
        return read_manifest(study_dir)

    first = write("run", "--trials", "3")
    assert first["command"] == ["sasrecf-tune", "run", "--trials", "3"] and first["later_commands"] == []
    idle = write("resume", trains=False)
    assert idle | {"updated": ""} == first | {"updated": ""} and idle["updated"] == first["updated"]
    for _ in range(2):
        found = write("resume", "--trials", "5")
    write("run", "--trials", "3")
    assert found["command"] == first["command"]
    assert found["later_commands"] == [["sasrecf-tune", "resume", "--trials", "5"]]
    assert write("resume")["later_commands"] == [*found["later_commands"], ["sasrecf-tune", "resume"]]
