"""Fixtures of the storage tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sasrecf_tune.storage.directory import StudyDirectory


@pytest.fixture
def study_dir(tmp_path: Path) -> StudyDirectory:
    (tmp_path / "study").mkdir()
    return StudyDirectory(tmp_path / "study")
