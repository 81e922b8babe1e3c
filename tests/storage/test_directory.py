"""The names of a study's files, and the options that find it again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sasrecf_tune.storage.directory import StudyDirectory


@pytest.mark.parametrize("parent", ["out", "my out", "a[1]'b", "$HOME", "../up"])
def test_the_out_option_is_quoted_for_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    monkeypatch.chdir(tmp_path)
    study_dir = StudyDirectory((tmp_path / parent).absolute() / "mine")
    name, option, path = shlex.split(study_dir.arguments)
    assert name == "mine" and option == "--out" and Path(path).absolute() == study_dir.directory.parent
    assert StudyDirectory(tmp_path / "tuning" / "mine").arguments == "mine"
