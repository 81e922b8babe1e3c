"""The names of the files in a study directory; no other module knows them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from sasrecf_tune.errors import InputError, StudyNotFoundError

DATABASE = "study.db"
# Ends the advice of an error; a whole command line, since not every command that fails has a --study.
ANOTHER_STUDY = "start another study: sasrecf-tune run --params-file FILE --study NEW-NAME"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,99}")


@dataclass(frozen=True)
class StudyDirectory:
    """A study directory, `OUT/STUDY`, and the files in it of one kind of trials."""

    directory: Path
    trial: str = "trial"  # prefix of the names of trials' files
    coordinator: str = ""  # whose own files these are, if several share the directory

    @property
    def name(self) -> str:
        """The study's name, which is the directory's."""
        return self.directory.name

    @property
    def arguments(self) -> str:
        """The name, and --out if it is needed: how a command finds the study, quoted for a shell."""
        out = self.directory.parent
        option = "" if out == Path("tuning").absolute() else f" --out {shlex.quote(relative(out))}"
        return shlex.quote(self.name) + option

    @property
    def confirmation(self) -> StudyDirectory:
        """The same directory, with the file names of the runs of a confirmation."""
        return replace(self, trial="confirm")

    @property
    def database(self) -> Path:
        """The Optuna study (SQLite)."""
        return self.directory / DATABASE

    @property
    def lock(self) -> Path:
        """Locked by the one coordinator at work, or shared by several."""
        return self.directory / "study.lock"

    @property
    def manifest(self) -> Path:
        """What the study was made from and with."""
        return self.directory / "manifest.json"

    @property
    def trials(self) -> Path:
        """One row for each trial that has ended."""
        return self.directory / "trials.csv"

    @property
    def ranking_csv(self) -> Path:
        """The ranked table for programs."""
        return self.directory / "ranking.csv"

    @property
    def ranking_md(self) -> Path:
        """The ranked table for people."""
        return self.directory / "ranking.md"

    @property
    def report(self) -> Path:
        """The results as an HTML page."""
        return self.directory / "report.html"

    @property
    def best(self) -> Path:
        """A RecBole config file of the best trial."""
        return self.directory / "best.yaml"

    @property
    def hyper_result(self) -> Path:
        """The results in RecBole's own export format."""
        return self.directory / "hyper.result"

    @property
    def confirmation_csv(self) -> Path:
        """One row for each run of the confirmation."""
        return self.directory / "confirmation.csv"

    @property
    def confirmation_md(self) -> Path:
        """The confirmation's conclusions, for people."""
        return self.directory / "confirmation.md"

    @property
    def model(self) -> Path:
        """The final model that `fit` writes; see `ModelDirectory`."""
        return self.directory / "model"

    @property
    def per_user_directory(self) -> Path:
        """The metrics of each user; see `per_user_files`."""
        return self.directory / "per-user"

    def per_user(self, number: int) -> Path:
        """The files of trial `number` with the metrics of each user, without the part of the data."""
        return self.per_user_directory / f"{self.trial}-{number:04d}"

    @property
    def tensorboard(self) -> Path:
        """The event files of `--log tensorboard`, in a directory for each trial."""
        return self.directory / "tensorboard"

    @property
    def logged(self) -> Path:
        """What the trackers of `--log` have, a line for each state of a trial."""
        return self.directory / "logged.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Weights of the best few trials."""
        return self.directory / "checkpoints"

    def checkpoint(self, number: int) -> Path:
        """Weights of trial `number`."""
        return self.checkpoints / f"{self.trial}-{number:04d}.pth"

    def unfinished(self, number: int) -> Path:
        """The checkpoint that trial `number` continues from after an interruption."""
        return self.checkpoints / f"{self.trial}-{number:04d}.resume"

    def saved(self) -> list[Path]:
        """Weights and checkpoints of all trials that have them."""
        return list(self.checkpoints.glob(f"{self.trial}-*"))

    def half_written(self) -> list[Path]:
        """Files that workers were writing to `checkpoints` when they were killed."""
        return list(self.checkpoints.glob(f".{self.trial}-*"))

    @property
    def prepared(self) -> Path:
        """Prepared data that the workers of a run share; removed when it ends."""
        return self.directory / f".prepared{self._mark}"

    def leftovers(self) -> list[Path]:
        """What killed runs have left: files half written to `checkpoints`, prepared data."""
        return [
            *self.half_written(),
            *self.confirmation.half_written(),
            *self.directory.glob(".prepared*"),
            *self.per_user_directory.glob(".*"),
        ]

    @property
    def logs(self) -> Path:
        """The logs of RecBole and of the workers."""
        return self.directory / "logs"

    def log(self, number: int) -> Path:
        """RecBole's log of trial `number`."""
        return self.logs / f"{self.trial}-{number:04d}.log"

    def worker_log(self, index: int) -> Path:
        """The log of worker `index` outside of trials."""
        return self.logs / f"worker{self._mark}-{index}.log"

    def pending_result(self, number: int) -> Path:
        """The result of trial `number` that could not be written to the database yet."""
        return self.directory / f"{self.trial}-{number:04d}.pending.json"

    def pending_results(self) -> list[Path]:
        """All such results; earlier versions named them .untold.json."""
        ends = ("pending", "untold")
        return sorted(path for end in ends for path in self.directory.glob(f"{self.trial}-*.{end}.json"))

    def results(self) -> list[Path]:
        """The files of a study and its confirmation, without the manifest and those of a run at work."""
        named = [self.trials, self.ranking_csv, self.ranking_md, self.report, self.best, self.hyper_result]
        named += [self.confirmation_csv, self.confirmation_md, self.model]
        named += [self.tensorboard, self.logged]
        for kind in (self, self.confirmation):
            named += [*kind.saved(), *kind.pending_results(), *kind.logs.glob(f"{kind.trial}-*.log")]
            named += kind.per_user_directory.glob(f"{kind.trial}-*.csv")
        # The database last, which says what the other files are.
        return [
            *named,
            *(self.database.with_name(DATABASE + end) for end in ("-journal", "-wal", "-shm", "")),
        ]

    def changed_at(self) -> float:
        """When a trial, a run of a confirmation, or the settings were last recorded, as a Unix time.

        Raises:
            OSError: there is no manifest.
        """
        times = [self.manifest.stat().st_mtime]
        for path in (self.database, self.trials, self.confirmation_csv):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    @property
    def _mark(self) -> str:
        return f"-{self.coordinator}" if self.coordinator else ""


def study_directory(out: Path, name: str) -> StudyDirectory:
    """The directory of study `name` below `out`."""
    return StudyDirectory(out.absolute() / name)


def check_new_name(name: str) -> None:
    """Check the name of a study that begins. A directory that exists may have been given any other.

    Raises:
        InputError: It is not a plain directory name.
    """
    if not _SAFE_NAME.fullmatch(name) or name.endswith("."):
        raise InputError(
            f"invalid study name {name!r}",
            where="--study",
            fix="Use letters, digits and . _ + = @ - (100 at most, a letter or digit first).",
        )


def default_name(dataset: str, params_file: Path, model: str = "") -> str:
    """The name of a study without --study, such as "ml-100k-hyper" or "ml-100k-SASRec-hyper"."""
    parts = [part for part in (dataset, model, params_file.stem) if part]
    plain = re.sub(r"[^A-Za-z0-9._+=@-]+", "-", "-".join(parts)).strip("-.")
    return plain[:100].rstrip(".") or "study"


def studies(out: Path) -> list[StudyDirectory]:
    """The studies below `out`, the most recent one first."""
    found: list[tuple[float, str, StudyDirectory]] = []
    with contextlib.suppress(OSError, ValueError):  # of a name with a null character
        for path in out.iterdir():
            study_dir = StudyDirectory(path.absolute())
            # One that cannot be read, or is being removed, does not hide the others.
            with contextlib.suppress(OSError):
                if study_dir.manifest.is_file():
                    found.append((-study_dir.changed_at(), study_dir.name, study_dir))
    return [study_dir for _, _, study_dir in sorted(found, key=lambda item: item[:2])]


def find_study(out: Path, name: str | None) -> StudyDirectory:
    """Find a study, or the most recent one.

    Args:
        out: the directory of studies.
        name: its name below `out`, or a path: of its directory, or of a file in it.

    Raises:
        StudyNotFoundError: it does not exist; the message lists those that do.
    """
    existing = studies(out)
    if name is None:
        if existing:
            return existing[0]
        raise StudyNotFoundError(
            "no studies here",
            where=str(out),
            fix="Start one with `sasrecf-tune run --params-file hyper.test`.",
        )
    at_path = _study_at(Path(name))
    if os.sep in name or name in (os.curdir, os.pardir):
        if at_path is None:
            there = ", ".join(study.name for study in studies(Path(name).parent)[:10])
            fix = f"Studies in {Path(name).parent}: {there}." if there else ""
            fix = fix or "A study directory contains manifest.json, which `run` writes."
            raise StudyNotFoundError("not a study directory", where=name, fix=fix)
        return at_path
    study_dir = study_directory(out, name)
    known = False
    with contextlib.suppress(OSError, ValueError):  # of a path that is too long, or has a null character
        known = bool(name) and study_dir.manifest.is_file()
    if not known:
        if at_path is not None:
            return at_path
        names = ", ".join(study.name for study in existing[:10])
        raise StudyNotFoundError(
            f"no study named {name!r}",
            where=str(out),
            fix=f"Studies there: {names}." if names else "There are no studies; `--out` names another place.",
        )
    return study_dir


def _study_at(path: Path) -> StudyDirectory | None:
    """The study whose directory this is, or whose file."""
    with contextlib.suppress(OSError, ValueError):  # of a name that is too long, or has a null character
        # Resolved, since `..` is not a name.
        directory = path.resolve()
        study_dir = StudyDirectory(directory.parent if directory.is_file() else directory)
        if study_dir.manifest.is_file():
            return study_dir
    return None


def relative(path: Path) -> str:
    """The path relative to the working directory, if it is below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
