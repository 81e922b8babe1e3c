"""`sasrecf-tune doctor`: checks that this machine can run a search, and suggests remedies.

torch and RecBole are imported in other processes only, so that a broken installation is a finding.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.cli.session import check_system
from sasrecf_tune.environment import (
    NEWEST,
    OWN_RAY,
    TF32_OVERRIDE,
    install_command,
    installed_version,
    ray_versions,
)
from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.allocation import Wishes, allocate
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET
from sasrecf_tune.machine import Machine, examine_machine, memory, peak_memory, threads_setting
from sasrecf_tune.messages import Measure
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.storage.directory import StudyDirectory

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_STYLES = {OK: "green", WARNING: "yellow", PROBLEM: "bold red"}
_TESTED = f"Install the tested versions: {install_command()}"
# Required everywhere, but in pyproject.toml only where pip can install it.
_RECBOLE = Requirement("recbole==1.2.1")
_RECBOLES_RAY = "<=2.6.3"
_LITTLE_DISK = 1 << 30
_PROBE_SECONDS = 120
# Cores that other programs use, worth a warning.
_BUSY = 0.5
# More than any machine has cores.
_MANY_TRIALS = 1 << 20
# A small SASRecF, which trains two steps within seconds on any machine.
_CONFIG: dict[str, Any] = {
    "model": "SASRecF",
    "dataset": BUILTIN_DATASET,
    "MAX_ITEM_LIST_LENGTH": 10,
    "train_neg_sample_args": None,
    "valid_metric": "MRR@10",
    "seed": 2020,
}


@dataclass(frozen=True)
class Finding:
    """A line of the output. `status` is ok, warning or problem; `remedy` is "" if there is nothing to do."""

    check: str
    status: str
    found: str
    remedy: str = ""


def run_doctor(out: Path, console: Console, as_json: bool) -> int:
    """Print each finding as soon as it is there; returns the exit code."""
    check_system()
    counts = dict.fromkeys(_STYLES, 0)
    for finding in examine(out):
        counts[finding.status] += 1
        if as_json:
            print(json.dumps(asdict(finding), ensure_ascii=False), flush=True)
        else:
            print_table(console, _line(finding))
    if not as_json:
        few = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count and name != OK]
        console.print(f"\n{' and '.join(reversed(few)) or 'No problems found.'}", highlight=False)
    return 1 if counts[PROBLEM] else 0


def examine(out: Path) -> Iterator[Finding]:
    """Yield all findings, the quick ones first. `out` is the directory of studies."""
    yield python()
    yield from versions()
    yield directory(out)
    seen, error = probe()
    yield workers(examine_machine())
    if error:  # a worker cannot start either
        yield Finding("torch", PROBLEM, error, _TESTED)
        yield free_memory(None)
        return
    yield device(seen)
    if TF32_OVERRIDE in os.environ:
        yield tf32(os.environ[TF32_OVERRIDE])
    trained = training()
    yield trained
    yield free_memory(peak_memory(children=True) if trained.status == OK else None)


def python() -> Finding:
    """Check the version of Python."""
    found, version = platform.python_version(), sys.version_info[:2]
    if version > NEWEST:
        newest = ".".join(map(str, NEWEST))
        return Finding(
            "python", WARNING, f"{found}: not tested with this version", f"Use Python 3.11 to {newest}."
        )
    if version >= OWN_RAY:
        found += "; RecBole is used without its own Ray 2.6.3, which has no build for it"
    return Finding("python", OK, found)


def versions(version_of: Callable[[str], str | None] = installed_version) -> Iterator[Finding]:
    """Check the versions of the required libraries."""
    try:
        required = [Requirement(text) for text in metadata.requires("sasrecf-tune") or []]
    except metadata.PackageNotFoundError:
        yield Finding(
            "versions", WARNING, "sasrecf-tune is not installed: the required versions are unknown", _TESTED
        )
        return
    wanted = {
        requirement.name: requirement
        for requirement in required
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    wanted.pop("setuptools", None)  # checked in _consequences
    fine = []
    for name, requirement in (wanted | {"recbole": _RECBOLE}).items():
        found = version_of(name)
        if found is None:
            yield Finding(name, PROBLEM, "not installed", _TESTED)
        elif not requirement.specifier.contains(found, prereleases=True):
            why = (
                "sasrecf-tune requires RecBole 1.2.1" if name == "recbole" else "not tested with this version"
            )
            remedy = f'pip install "{name}{requirement.specifier}"'
            yield Finding(name, PROBLEM, f"{found}: {why}", _TESTED if name == "recbole" else remedy)
        else:
            fine.append(f"{name} {found}")
    yield Finding("versions", OK, ", ".join(fine))
    yield ray(version_of)
    yield from _consequences(version_of)


def ray(version_of: Callable[[str], str | None]) -> Finding:
    """Check the version of Ray, which only clusters need."""
    found, python = version_of("ray"), sys.version_info[:2]
    install = f"Install the tested version: {install_command(python, 'ray')}"
    if found is None:
        return Finding("ray", OK, f"not installed; only --executor ray needs it. {install}")
    wanted = ray_versions(python)
    if not SpecifierSet(wanted).contains(found, prereleases=True):
        found += f": not tested; on Python {python[0]}.{python[1]}, --executor ray is tested with {wanted}"
        return Finding("ray", WARNING, found, install)
    return Finding("ray", OK, f"{found}, for --executor ray; all nodes of a cluster need this version")


def _consequences(version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """Find what does not affect a search, but the use of its result with RecBole alone."""
    torch = version_of("torch")
    if torch and tuple(int(part) for part in torch.split(".")[:2]) >= (2, 6):
        # torch.load has weights_only=True since then; RecBole's checkpoints contain its Config.
        yield Finding(
            "checkpoints", OK, f"torch {torch} can load the checkpoints of a study, but not those of RecBole"
        )
    if not version_of("recbole"):
        return
    newer = [
        f"{name} {found}"
        for name, last in (("numpy", 1), ("pandas", 2))
        if (found := version_of(name)) and int(found.split(".")[0]) > last
    ]
    found = version_of("ray")
    if found is None:
        newer.append("no Ray")
    elif not SpecifierSet(_RECBOLES_RAY).contains(found, prereleases=True):
        newer.append(f"ray {found}")
    if newer:
        text = f"{', '.join(newer)}: supported here, but RecBole alone cannot run best.yaml"
        yield Finding("run_recbole", OK, text)
    elif importlib.util.find_spec("pkg_resources") is None:
        yield Finding(
            "setuptools",
            WARNING,
            f"{version_of('setuptools') or 'not installed'}: no pkg_resources, which Ray requires for "
            "recbole.quick_start: RecBole alone cannot run best.yaml",
            'pip install "setuptools<81"',
        )


def directory(out: Path) -> Finding:
    """Check that `out` can be written and locked, and that SQLite works there; leaves no files."""
    import fcntl  # Windows has none

    there = out.absolute()
    try:
        there = next(path for path in (there, *there.parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".sasrecf-tune-") as scratch:
            with (Path(scratch) / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.closing(sqlite3.connect(Path(scratch) / "study.db")) as connection:
                connection.execute("CREATE TABLE trials (number)")
        free = shutil.disk_usage(there).free
    except (OSError, sqlite3.Error) as error:
        no_locks = isinstance(error, OSError) and error.errno in (errno.ENOLCK, errno.ENOTSUP)
        reason = getattr(error, "strerror", None) or str(error)
        found = f"{there} cannot be {'locked' if no_locks else 'written'}: {reason}"
        return Finding(
            "directory", PROBLEM, found, "Use another directory with --out, or change its permissions."
        )
    if free < _LITTLE_DISK:
        return Finding("directory", WARNING, f"{there}: {_size(free)} free", "Free disk space.")
    return Finding("directory", OK, f"{there} can be written, {_size(free)} free")


def probe() -> tuple[dict[str, Any], str]:
    """Run `torch_probe` in another process; returns what torch finds, and an error or ""."""
    # With sys.path of this process, like the workers: -m would search the working directory first.
    script = f"import sys; sys.path[:] = {sys.path!r}; from sasrecf_tune.cli.torch_probe import main; main()"
    command = [sys.executable, "-P", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {_PROBE_SECONDS} seconds"
    seen: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):  # printed by a library
            seen |= json.loads(line)
    if "error" in seen or done.returncode == 0:
        return seen, seen.get("error", "")
    last = done.stderr.strip().splitlines()[-1:]
    return seen, f"its process {_describe_exit(done.returncode)}{': ' if last else ''}{''.join(last)[:300]}"


def device(seen: dict[str, Any]) -> Finding:
    """Check the GPUs that torch finds."""
    gpus = [
        f"GPU {index}: {gpu['name']}, {_size(gpu['free'])} of {_size(gpu['total'])} free"
        for index, gpu in enumerate(seen["gpus"])
    ]
    if gpus:
        return Finding("device", OK, "; ".join(gpus))
    if Path("/dev/nvidia0").exists():
        build = f"built for CUDA {seen['cuda']}" if seen["cuda"] else "built for the CPU only"
        remedy = "Install the PyTorch build for the driver that nvidia-smi shows: pytorch.org."
        return Finding(
            "device", WARNING, f"CPU: there is a GPU, but torch, {build}, does not find it", remedy
        )
    return Finding("device", OK, "CPU; torch finds no CUDA GPU")


def tf32(value: str) -> Finding:
    """Report the variable that makes torch round factors of matrix products on a GPU to ten bits."""
    return Finding(
        "tf32",
        WARNING,
        f"{TF32_OVERRIDE} is {value}: with 1, torch on a GPU computes in TF32, whatever a program sets; "
        "workers ignore it, RecBole alone does not",
        f"unset {TF32_OVERRIDE}",
    )


def workers(machine: Machine) -> Finding:
    """Report how many workers a search has on the CPU, and what keeps it from having more."""
    asked = threads_setting()
    found = str(allocate(machine, _MANY_TRIALS, Wishes(environment=asked)))
    remedies = []
    if machine.busy >= _BUSY:
        remedies.append("Other programs are using the CPU: a search beside them is slower.")
    if machine.quota is not None and machine.quota < machine.cores:
        remedies.append("The CPU quota of the container or the service is lower than the number of cores.")
    if asked and 1 < asked <= machine.cores:
        remedies.append(f"unset OMP_NUM_THREADS: {asked} workers of one thread do more than one of {asked}.")
    return Finding("workers", WARNING if remedies else OK, found, " ".join(remedies))


def training() -> Finding:
    """Train two steps of a small SASRecF on ml-100k and validate, in a worker like those of a search."""
    scratch = Path(tempfile.mkdtemp(prefix="sasrecf-tune-doctor-"))
    study_dir = StudyDirectory(scratch / "study")
    executor = LocalExecutor(study_dir, threads=1)
    try:
        config = _CONFIG | {"checkpoint_dir": str(study_dir.checkpoints)}
        timing = executor.measure(Measure(config, "fast", steps=1))  # after an untimed first step
    except TuneError as error:
        found = Finding(
            "training", PROBLEM, error.message, error.fix or f"Its log: {study_dir.worker_log(0)}"
        )
    else:
        step = timing.train_seconds / timing.steps_per_epoch
        found = Finding(
            "training", OK, f"2 steps of a small SASRecF on ml-100k; the second took {step:.2g} s"
        )
    finally:
        executor.close()
    if str(scratch) not in found.found + found.remedy:  # else the remedy refers to a log in it
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def free_memory(taken: int | None) -> Finding:
    """Compare the available memory with the bytes that the worker used."""
    free, total = memory()
    found = f"{_size(free)} of {_size(total)} free"
    if taken is None:
        return Finding("memory", OK, found)
    found += f"; a worker on ml-100k uses {_size(taken)}"
    if free < 2 * taken:
        return Finding("memory", WARNING, found, "Close other programs; larger data and models use more.")
    return Finding("memory", OK, found)


def _describe_exit(code: int) -> str:
    if code < 0 and -code in set(signal.Signals):
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB"


def _line(finding: Finding) -> Table:
    line = Table.grid(padding=(0, 2))
    line.add_column(width=len(PROBLEM))
    line.add_column(width=len("checkpoints"))
    line.add_column(overflow="fold")
    text = Text(finding.found)
    if finding.remedy:
        text.append(f"\n{finding.remedy}", style="bold")
    line.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.check, text)
    return line
