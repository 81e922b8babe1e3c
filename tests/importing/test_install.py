"""A data set is written as a whole: a killed import leaves the old files or all of the new ones."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sasrecf_tune.errors import InputError
from sasrecf_tune.importing.install import check_target, write_directory
from tests.support.paths import ROOT

OLD = {"d.inter": "old inter\n", "d.item": "old item\n", "d.yaml": "old yaml\n"}
NEW = {name: text.replace("old", "new") for name, text in OLD.items()}

# Kills itself at the n-th event that may change a file.
KILLED = """
import os, signal, sys
from pathlib import Path
from sasrecf_tune.importing.install import write_directory
directory, new = Path(sys.argv[1]), eval(sys.argv[2])
for step in range(1, 200):
    if (child := os.fork()) == 0:
        left = step
        def count(event, arguments):
            global left
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.putenv",
                         "ctypes.dlopen", "ctypes.dlsym", "fcntl.flock", "shutil.rmtree", "tempfile.mkdtemp"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        write_directory(directory, {name: iter([text]) for name, text in new.items()})
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = {path.name: path.read_text() for path in directory.iterdir()} if directory.exists() else {}
    print(step, os.WIFSIGNALED(status) and os.WTERMSIG(status), found, flush=True)
    if not os.WIFSIGNALED(status):
        break
    if found == new:  # again from the old files
        write_directory(directory, eval(sys.argv[3]) or new)
        if not eval(sys.argv[3]):
            import shutil
            shutil.rmtree(directory)
"""


def read(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("old", [OLD, {}], ids=["replaced", "new"])
def test_a_killed_import_leaves_the_old_or_all_new_files(tmp_path: Path, old: dict[str, str]) -> None:
    directory = tmp_path / "data" / "d"
    if old:
        write_directory(directory, {name: iter([text]) for name, text in old.items()})
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(directory), repr(NEW), repr(old)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    killed = [line for line in lines if line[1] == str(int(signal.SIGKILL))]
    assert len(killed) >= 8 and lines[-1][1] == "False"
    assert {line[2] for line in killed} <= {repr(old), repr(NEW)} and repr(old) in {
        line[2] for line in killed
    }
    assert read(directory) == NEW
    # What the killed ones have left has been removed.
    assert names(directory.parent) == ["d"]


def test_a_failure_while_writing_changes_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield "begun"
        raise InputError("no")

    write_directory(tmp_path / "d", {name: iter([text]) for name, text in OLD.items()})
    with pytest.raises(InputError):
        write_directory(tmp_path / "d", {"d.inter": failing()})  # type: ignore[dict-item]
    assert read(tmp_path / "d") == OLD and names(tmp_path) == ["d"]


def test_what_may_be_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    check_target(directory, force=False)
    directory.mkdir()
    check_target(directory, force=False)
    (directory / "d.inter").write_text("x")
    with pytest.raises(InputError, match="--force"):
        check_target(directory, force=False)
    check_target(directory, force=True)
    (directory / "d.user").write_text("mine")
    with pytest.raises(InputError, match=r"not of an import: d\.user"):
        check_target(directory, force=True)
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(InputError, match="a link"):
        check_target(tmp_path / "link", force=True)
