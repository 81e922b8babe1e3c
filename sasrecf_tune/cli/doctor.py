"""`sasrecf-tune doctor`: what could keep a search from working here, each with a remedy.

Nothing here imports torch or RecBole: other processes do, so that what is broken is a finding.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import platform
import resource
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
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.environment import NEWEST, WITHOUT_RAY, cores, cpu_time, install_command, memory
from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.messages import Measure
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.storage.directory import StudyDirectory

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_STYLES = {OK: "green", WARNING: "yellow", PROBLEM: "bold red"}
_TESTED = f"Install the tested versions: {install_command()}"
# pyproject.toml asks for it where pip can install it, and it is needed everywhere.
_RECBOLE = Requirement("recbole==1.2.1")
_LITTLE_DISK = 1 << 30
_PROBE_SECONDS = 120
# A small SASRecF, since the two steps are to take seconds on any machine.
_CONFIG: dict[str, Any] = {
    "model": "SASRecF",
    "dataset": "ml-100k",
    "MAX_ITEM_LIST_LENGTH": 10,
    "train_neg_sample_args": None,
    "valid_metric": "MRR@10",
    "seed": 2020,
}


@dataclass(frozen=True)
class Finding:
    """One line: a `status` is ok, warning or problem; the `remedy` says what to do, "" where nothing is."""

    check: str
    status: str
    found: str
    remedy: str = ""


def run_doctor(out: Path, console: Console, as_json: bool) -> int:
    """Print each finding as it is made; returns the exit code."""
    counts = dict.fromkeys(_STYLES, 0)
    for finding in examine(out):
        counts[finding.status] += 1
        if as_json:
            print(json.dumps(asdict(finding), ensure_ascii=False), flush=True)
        else:
            print_table(console, _line(finding))
    if not as_json:
        few = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count and name != OK]
        console.print(f"\n{' and '.join(reversed(few)) or 'A search can begin.'}", highlight=False)
    return 1 if counts[PROBLEM] else 0


def examine(out: Path) -> Iterator[Finding]:
    """All findings, the quick ones first. `out` is the directory of studies."""
    yield python()
    yield from versions()
    yield directory(out)
    seen, error = probe()
    yield threads(seen.get("threads"))
    if error:
        # Nor can a worker begin.
        yield Finding("torch", PROBLEM, error, _TESTED)
        yield room(None)
        return
    yield device(seen)
    trained = training()
    yield trained
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    yield room(peak if trained.status == OK else None)


def python() -> Finding:
    """The version of Python."""
    found, version = platform.python_version(), sys.version_info[:2]
    if version > NEWEST:
        newest = ".".join(map(str, NEWEST))
        return Finding("python", WARNING, f"{found}: not tested with it", f"Use Python 3.11 to {newest}.")
    if version >= WITHOUT_RAY:
        found += ", for which there is no Ray as old as RecBole 1.2.1 needs: it is used without"
    return Finding("python", OK, found)


def versions(installed: Callable[[str], str | None] | None = None) -> Iterator[Finding]:
    """The libraries that sasrecf-tune asks for, against what it knows of their versions."""
    version_of = installed or _installed
    try:
        asked = [Requirement(text) for text in metadata.requires("sasrecf-tune") or []]
    except metadata.PackageNotFoundError:
        yield Finding("versions", WARNING, "sasrecf-tune is not installed: versions are unknown", _TESTED)
        return
    wanted = {
        requirement.name: requirement
        for requirement in asked
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    wanted.pop("setuptools", None)  # Ray's: below
    fine = []
    for name, requirement in (wanted | {"recbole": _RECBOLE}).items():
        found = version_of(name)
        if found is None:
            yield Finding(name, PROBLEM, "not installed", _TESTED)
        elif not requirement.specifier.contains(found, prereleases=True):
            why = "this is written for RecBole 1.2.1" if name == "recbole" else "not tested with this version"
            remedy = f'pip install "{name}{requirement.specifier}"'
            yield Finding(name, PROBLEM, f"{found}: {why}", _TESTED if name == "recbole" else remedy)
        else:
            fine.append(f"{name} {found}")
    yield Finding("versions", OK, ", ".join(fine))
    yield from _consequences(version_of)


def _consequences(version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """What does not keep a search from working, but RecBole alone with its result."""
    torch = version_of("torch")
    if torch and tuple(int(part) for part in torch.split(".")[:2]) >= (2, 6):
        # torch.load: weights_only became True; RecBole's checkpoints hold its whole Config.
        yield Finding(
            "checkpoints", OK, f"torch {torch} reads those of a study, but none that RecBole itself writes"
        )
    if not version_of("recbole"):
        return
    newer = [
        f"{name} {found}"
        for name, last in (("numpy", 1), ("pandas", 2))
        if (found := version_of(name)) and int(found.split(".")[0]) > last
    ]
    without = [*newer, *([] if version_of("ray") else ["no Ray"])]
    if without:
        text = f"{', '.join(without)}: worked around here, but RecBole alone cannot run best.yaml"
        yield Finding("run_recbole", OK, text)
    elif importlib.util.find_spec("pkg_resources") is None:
        yield Finding(
            "setuptools",
            WARNING,
            f"{version_of('setuptools') or 'not installed'}: no pkg_resources, which Ray wants and "
            "recbole.quick_start with it: RecBole alone cannot run best.yaml",
            'pip install "setuptools<81"',
        )


def directory(out: Path) -> Finding:
    """Whether studies can be written, locked and kept in SQLite below `out`; leaves nothing there."""
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
        return Finding("directory", PROBLEM, found, "Choose another with --out, or mend the rights.")
    if free < _LITTLE_DISK:
        return Finding("directory", WARNING, f"{there}: {_size(free)} free", "Free space on that disk.")
    return Finding("directory", OK, f"{there} can be written, {_size(free)} free")


def probe() -> tuple[dict[str, Any], str]:
    """What torch sees, and what is wrong with it; by another process."""
    # With the path of this process, as workers are started: -m would look into the working directory first.
    script = f"import sys; sys.path[:] = {sys.path!r}; from sasrecf_tune.cli.torch_probe import main; main()"
    command = [sys.executable, "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {}, f"no answer for {_PROBE_SECONDS} seconds"
    seen: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):  # what a library has printed
            seen |= json.loads(line)
    if "error" in seen or done.returncode == 0:
        return seen, seen.get("error", "")
    last = done.stderr.strip().splitlines()[-1:]
    return seen, f"its process {_how_it_ended(done.returncode)}{': ' if last else ''}{''.join(last)[:300]}"


def device(seen: dict[str, Any]) -> Finding:
    """The cards that torch sees."""
    cards = [
        f"{card['name']}, {_size(card['free'])} of {_size(card['total'])} free" for card in seen["cards"]
    ]
    if cards:
        return Finding("device", OK, "; ".join(f"card {index}: {card}" for index, card in enumerate(cards)))
    if Path("/dev/nvidia0").exists():
        built = f"built for CUDA {seen['cuda']}" if seen["cuda"] else "built for the CPU alone"
        remedy = "Install the build of PyTorch for the driver that nvidia-smi names: pytorch.org."
        return Finding("device", WARNING, f"the CPU: there is a card, but torch, {built}, sees none", remedy)
    return Finding("device", OK, "the CPU; torch sees no CUDA card")


def threads(taken: int | None) -> Finding:
    """The threads that torch takes, against the cores and a container's share of their time."""
    have, share, asked = cores(), cpu_time(), os.environ.get("OMP_NUM_THREADS")
    found = f"{have} core{'s' * (have > 1)}"
    if taken:
        found += f", torch takes {taken} thread{'s' * (taken > 1)}"
    if taken and share is not None and taken > share + 0.5:
        remedy = f"export OMP_NUM_THREADS={max(1, round(share))}"
        return Finding("threads", WARNING, f"{found}, the container has the time of {share:g}", remedy)
    if taken and asked and taken < have:
        remedy = f"unset OMP_NUM_THREADS, or train several trials at once: --workers {have // taken}"
        return Finding("threads", WARNING, f"{found}: OMP_NUM_THREADS is {asked}", remedy)
    return Finding("threads", OK, found)


def training() -> Finding:
    """Two steps of a small SASRecF on ml-100k and a validation, in a worker as a search has them."""
    scratch = Path(tempfile.mkdtemp(prefix="sasrecf-tune-doctor-"))
    study_dir = StudyDirectory(scratch / "study")
    executor = LocalExecutor(study_dir)
    try:
        config = _CONFIG | {"checkpoint_dir": str(study_dir.checkpoints)}
        timing = executor.measure(Measure(config, "fast", steps=1))  # behind the first, which is not timed
    except TuneError as error:
        found = Finding(
            "training", PROBLEM, error.message, error.fix or f"Its log: {study_dir.worker_log(0)}"
        )
    else:
        step = timing.train_seconds / timing.steps_per_epoch
        found = Finding("training", OK, f"2 steps of a small SASRecF on ml-100k, {step:.2g} s the second")
    finally:
        executor.close()
    if str(scratch) not in found.found + found.remedy:  # else there is a log to look at
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def room(taken: int | None) -> Finding:
    """The memory that is free, against what the worker took (bytes)."""
    free, total = memory()
    if free is None:
        return Finding("memory", OK, f"{_size(total)} in all" if total else "the system does not say")
    found = f"{_size(free)}{f' of {_size(total)}' if total else ''} free"
    if taken is None:
        return Finding("memory", OK, found)
    found += f"; a worker on ml-100k takes {_size(taken)}"
    if free < 2 * taken:
        return Finding("memory", WARNING, found, "Close other programs; larger data and models need more.")
    return Finding("memory", OK, found)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _how_it_ended(code: int) -> str:
    if code < 0 and -code in set(signal.Signals):
        return f"was ended by {signal.Signals(-code).name}"
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
