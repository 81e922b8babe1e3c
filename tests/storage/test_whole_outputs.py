"""A killed process leaves the old model or file, or the complete new one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sasrecf_tune.errors import StorageError
from sasrecf_tune.report.formats.table_files import open_table
from sasrecf_tune.storage import directory_swap
from sasrecf_tune.storage.directory_swap import replace_directory, staging_directory

# Kills itself at the n-th event that opens, renames, makes or removes something below the target's directory.
KILL = """\
import os, signal, sys
from pathlib import Path
target, left, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
import numpy as np
from sasrecf_tune.report.formats.table_files import open_table
from sasrecf_tune.storage import directory_swap
from sasrecf_tune.storage.directory_swap import replace_directory, staging_directory
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "ctypes.call_function")
def watch(event, arguments):
    global left
    mine = event == "ctypes.call_function" or any(str(target.parent) in str(each) for each in arguments)
    if event in EVENTS and mine:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
if mode == "directory":
    with staging_directory(target) as staging:
        for name in ("one", "two"):
            (staging / name).write_text("new")
        replace_directory(staging, target)
else:
    with open_table(target) as write:
        for part in range(3):
            write({"n": np.arange(3)})
"""


def killed_at(target: Path, event: int, mode: str) -> bool:
    """Whether the process was killed before it ended."""
    done = subprocess.run([sys.executable, "-c", KILL, str(target), str(event), mode], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_is_replaced_as_a_whole(tmp_path: Path, exists: bool) -> None:
    old, new = {"one": "old", "three": "old"}, {"one": "new", "two": "new"}
    seen = []
    for event in range(1, 100):
        target = tmp_path / str(event) / "model"
        (target if exists else target.parent).mkdir(parents=True)
        for name, text in old.items() if exists else ():
            (target / name).write_text(text)
        killed = killed_at(target, event, "directory")
        found = content(target) if target.exists() else None
        assert found in ((old if exists else None), new)
        seen.append(found)
        with staging_directory(target):  # removes what was left
            assert len(list(target.parent.iterdir())) <= 2
        assert set(target.parent.iterdir()) <= {target}
        if not killed:
            break
    assert not killed and event > 5 and seen[0] != seen[-1] == new


def test_a_table_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for event in range(1, 100):
        target = tmp_path / str(event) / "table.csv"
        target.parent.mkdir()
        target.write_text("old")
        killed = killed_at(target, event, "table")
        assert target.read_text() in ("old", "n\n" + "0\n1\n2\n" * 3)
        if not killed:
            break
    assert not killed and target.read_text() != "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_system_that_cannot_exchange_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Path) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(directory_swap, "_exchange", refuse)
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with staging_directory(target) as staging:
        (staging / "new").touch()
        replace_directory(staging, target)
    assert list(target.iterdir()) == [target / "new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_staging_directory_in_use_is_kept(tmp_path: Path) -> None:
    with staging_directory(tmp_path / "model") as one, staging_directory(tmp_path / "model") as other:
        assert one.is_dir() and other.is_dir() and one != other


def test_an_error_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), open_table(path):
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    (tmp_path / ".table.csv.part").symlink_to("elsewhere")
    with pytest.raises(StorageError, match="not a regular file"), open_table(path):
        pass
    assert path.read_text() == "old"
