"""Checkpoints that somebody else has made to do harm."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from sasrecf_tune.training.checkpoint import TrialCheckpoint, UnusableCheckpointError, read


def test_a_compressed_checkpoint_is_not_read(tmp_path: Path) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    TrialCheckpoint("x", [], 0.0, {}).write(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
        target.writestr("plain/data/0", bytes(1 << 20))
    with pytest.raises(UnusableCheckpointError, match="not a file of torch"):
        read(small, "x")
    with pytest.raises(UnusableCheckpointError, match="another configuration"):  # it has no reports
        read(plain, "x")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trial-0000.resume")
    with pytest.raises(UnusableCheckpointError, match="not a regular file"):
        read(tmp_path / "trial-0000.resume", "x")
