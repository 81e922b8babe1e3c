"""The names of the files in a study directory; no other module knows them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from sasrecf_tune.errors import InputError, StudyNotFoundError

DATABASE = "study.db"
# The end of an advice; a whole command line, since not every command that gives it has a --study.
ANOTHER_STUDY = "start another study: sasrecf-tune run --params-file FILE --study NEW-NAME"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,99}")


@dataclass(frozen=True)
class StudyDirectory:
    """A study directory, `OUT/STUDY`, and the files in it of one kind of trials."""

    directory: Path
    trial: str = "trial"  # what the name of a trial's file begins with
    coordinator: str = ""  # of several in the directory, the one whose own files these are

    @property
    def name(self) -> str:
        """The study's name, which is the directory's."""
        return self.directory.name

    @property
    def optuna_name(self) -> str:
        """What the database calls the trials; with a space for a confirmation, which no study's name has."""
        return self.name if self.trial == "trial" else f"{self.name} confirmation"

    @property
    def confirmation(self) -> StudyDirectory:
        """The same directory, with the names that the runs of a confirmation have."""
        return replace(self, trial="confirm")

    @property
    def database(self) -> Path:
        """The Optuna study (SQLite)."""
        return self.directory / DATABASE

    @property
    def lock(self) -> Path:
        """Held by the one coordinator at work, or by all of them together."""
        return self.directory / "study.lock"

    @property
    def manifest(self) -> Path:
        """What the study was made from and with."""
        return self.directory / "manifest.json"

    @property
    def trials(self) -> Path:
        """One row for each trial that ended."""
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
        """The results as a page."""
        return self.directory / "report.html"

    @property
    def best(self) -> Path:
        """A RecBole config file of the best trial."""
        return self.directory / "best.yaml"

    @property
    def hyper_result(self) -> Path:
        """RecBole's own export format."""
        return self.directory / "hyper.result"

    @property
    def confirmation_csv(self) -> Path:
        """One row for each run of the confirmation."""
        return self.directory / "confirmation.csv"

    @property
    def confirmation_md(self) -> Path:
        """What the confirmation says, for people."""
        return self.directory / "confirmation.md"

    @property
    def checkpoints(self) -> Path:
        """Weights of the best few trials."""
        return self.directory / "checkpoints"

    def checkpoint(self, number: int) -> Path:
        """Weights of trial `number`."""
        return self.checkpoints / f"{self.trial}-{number:04d}.pth"

    def unfinished(self, number: int) -> Path:
        """What trial `number` continues from when it was interrupted."""
        return self.checkpoints / f"{self.trial}-{number:04d}.resume"

    def saved(self) -> list[Path]:
        """Weights, and what is continued from, of all trials that have them."""
        return list(self.checkpoints.glob(f"{self.trial}-*"))

    def half_written(self) -> list[Path]:
        """What workers were writing to `checkpoints` when they were killed."""
        return list(self.checkpoints.glob(f".{self.trial}-*"))

    @property
    def prepared(self) -> Path:
        """Data that the workers of a run share; gone when it ends."""
        return self.directory / f".prepared{self._mark}"

    def leftovers(self) -> list[Path]:
        """What runs that were killed have left: files half written to `checkpoints`, prepared data."""
        return [*self.half_written(), *self.confirmation.half_written(), *self.directory.glob(".prepared*")]

    @property
    def logs(self) -> Path:
        """What RecBole and the workers said."""
        return self.directory / "logs"

    def log(self, number: int) -> Path:
        """What RecBole said during trial `number`."""
        return self.logs / f"{self.trial}-{number:04d}.log"

    def worker_log(self, index: int) -> Path:
        """What worker `index` said outside of trials."""
        return self.logs / f"worker{self._mark}-{index}.log"

    def pending_result(self, number: int) -> Path:
        """The result of trial `number` that the database could not be told of."""
        return self.directory / f"{self.trial}-{number:04d}.untold.json"

    def pending_results(self) -> list[Path]:
        """Such results."""
        return sorted(self.directory.glob(f"{self.trial}-*.untold.json"))

    @property
    def _mark(self) -> str:
        return f"-{self.coordinator}" if self.coordinator else ""


def study_directory(out: Path, name: str) -> StudyDirectory:
    """The layout of study `name` below `out`.

    Raises:
        InputError: the name would not make a plain directory name.
    """
    if not _SAFE_NAME.fullmatch(name) or name.endswith("."):
        raise InputError(
            f"{name!r} cannot be a study's name",
            where="--study",
            fix="Use letters, digits and . _ + = @ - (100 at most, a letter or digit first).",
        )
    return StudyDirectory(out.absolute() / name)


def default_name(dataset: str, params_file: Path, model: str = "") -> str:
    """Such as "ml-100k-hyper" for ml-100k and hyper.test, or "ml-100k-SASRec-hyper" with a model."""
    parts = [part for part in (dataset, model, params_file.stem) if part]
    plain = re.sub(r"[^A-Za-z0-9._+=@-]+", "-", "-".join(parts)).strip("-.")
    return plain[:100].rstrip(".") or "study"


def studies(out: Path) -> list[StudyDirectory]:
    """The studies below `out`, the one worked on last first."""
    found: list[tuple[float, str, StudyDirectory]] = []
    with contextlib.suppress(OSError):
        for path in out.iterdir():
            study_dir = StudyDirectory(path.absolute())
            # One that cannot be looked into, or is being removed, does not hide the others.
            with contextlib.suppress(OSError):
                if study_dir.manifest.is_file():
                    found.append((-study_dir.manifest.stat().st_mtime, study_dir.name, study_dir))
    return [study_dir for _, _, study_dir in sorted(found, key=lambda item: item[:2])]


def find_study(out: Path, name: str | None) -> StudyDirectory:
    """Study `name` below `out`, or the one worked on last.

    Raises:
        StudyNotFoundError: there is none; the message lists those there are.
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
    study_dir = study_directory(out, name)
    if not study_dir.manifest.is_file():
        names = ", ".join(study.name for study in existing[:10])
        raise StudyNotFoundError(
            f"no study named {name!r}",
            where=str(out),
            fix=f"There are: {names}." if names else "There are none; --out names the directory of studies.",
        )
    return study_dir


def relative(path: Path) -> str:
    """A path as short as it can be said here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def out_option(study_dir: StudyDirectory) -> str:
    """What a command needs to find the study, "" where it does without."""
    out = study_dir.directory.parent
    return "" if out == Path("tuning").absolute() else f" --out {relative(out)}"
