"""The Slurm script and the loop over ssh are ones that the programs take, and do what their pages say."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.inputs.durations import parse_duration
from tests.support import readme_blocks

EXAMPLES = readme_blocks.ROOT / "examples"
ARRAY = EXAMPLES / "array.sbatch"
SSH = (readme_blocks.DOCS / "how-to" / "ssh.md").read_text()
_VALUES = {"SLURM_CPUS_PER_TASK": "4"}


def parsed(line: str) -> dict[str, Any]:
    """What the command line makes of `sasrecf-tune ...`; it raises where it does not take that."""
    _, name, *arguments = shlex.split(line)
    return dict(readme_blocks.commands()[name].make_context(name, arguments).params)


def in_array() -> str:
    """The command that each task runs."""
    text = ARRAY.read_text().replace("\\\n", " ")
    found = re.search(r"^srun .*?(sasrecf-tune .*)$", text, re.MULTILINE)
    assert found is not None
    return re.sub(r"\$(\w+)", lambda name: _VALUES[name[1]], found[1])


def loop_over_ssh() -> str:
    """The shell's loop that starts the runs."""
    found = re.search(r"^```bash\n(for .*?)^```$", SSH, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def stand_ins(directory: Path, scripts: Mapping[str, str]) -> dict[str, str]:
    """An environment in which these shell scripts are found by their names before all else."""
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_ssh_and_slurm_examples_run_the_same_search() -> None:
    over_ssh = re.search(r"nohup (sasrecf-tune run .*?) >>", loop_over_ssh().replace("\\\n", " "), re.DOTALL)
    assert over_ssh is not None
    ours, theirs = parsed(in_array()), parsed(over_ssh[1])
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert differing == {"checkpoint_every", "grace"}


def test_slurm_reads_every_directive_and_signals_before_the_grace_period() -> None:
    lines = ARRAY.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    lead = re.search(r"^#SBATCH --signal=TERM@(\d+)$", "\n".join(lines), re.MULTILINE)
    assert lead is not None
    grace = parse_duration(str(parsed(in_array())["grace"]), "--grace")
    assert grace + 30 <= int(lead[1])


@pytest.mark.parametrize(("code", "requeued"), [(130, True), (0, False), (1, False), (137, False)])
def test_a_stopped_array_task_is_requeued(tmp_path: Path, code: int, requeued: bool) -> None:
    environment = stand_ins(
        tmp_path, {"srun": f'echo "$@" >> calls; exit {code}', "scontrol": 'echo "scontrol $*" >> calls'}
    )
    environment |= _VALUES | {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}
    done = subprocess.run(["bash", str(ARRAY)], cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == code
    first, *others = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("--cpus-per-task=4 sasrecf-tune run ")
    assert others == ["scontrol requeue 70_3"] * requeued


def test_runs_over_ssh_survive_the_connection_and_are_ended_one_by_one(tmp_path: Path) -> None:
    """`ssh` ends when nobody has its command's output open any more."""
    # What is run below must not reach further than this test's own run.
    ending = re.search(r"`(ssh alpha pkill -TERM -F tuning-beauty/run.pid [^`]+)`", SSH)
    assert ending is not None and "PASSWORD" not in loop_over_ssh()
    environment = stand_ins(
        tmp_path,
        {
            "rsync": 'for last; do :; done; mkdir -p "${last%%:*}/${last#*:}"',
            "ssh": 'cd "$1"; shift; sh -c "$*" 2>&1 | cat',
            "sasrecf-tune": f"flock {tmp_path}/going-on true",
        },
    )
    with contextlib.ExitStack() as stack:
        with (tmp_path / "going-on").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            looping = subprocess.run(
                ["bash", "-c", loop_over_ssh()], cwd=tmp_path, env=environment, timeout=60
            )
            assert looping.returncode == 0
            runs = {}
            for host in ("alpha", "beta", "gamma"):
                directory = tmp_path / host / "tuning-beauty"
                assert (directory / "run.log").exists()
                runs[host] = os.pidfd_open(int((directory / "run.pid").read_text()))
                stack.callback(os.close, runs[host])
            if shutil.which("pkill"):
                subprocess.run(
                    ["bash", "-c", ending[1]], cwd=tmp_path, env=environment, timeout=60, check=True
                )
                assert _ended(runs["alpha"], 60)
            assert not _ended(runs["beta"], 0) and not _ended(runs["gamma"], 0)
        assert all(_ended(run, 60) for run in runs.values())


def _ended(run: int, seconds: float) -> bool:
    return bool(select.select([run], [], [], seconds)[0])
