"""Kill searches at random and count what is lost: python -m benchmarks.robustness.faults --help."""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import print_progress, start
from benchmarks.robustness import multi_run_faults
from benchmarks.robustness.killable_run import KillableRun, kill
from benchmarks.robustness.killed_program import PAUSING
from benchmarks.robustness.loss_audit import LossAudit, Reference, read_reference
from sasrecf_tune.errors import InputError, TuneError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.report.study_files import KEPT_CHECKPOINTS
from sasrecf_tune.storage.directory import StudyDirectory

PROGRAM = "benchmarks.robustness.killed_program"
STUDY = "study"
# Retries of a trial: more than the kills that can hit it.
RETRIES = 100
# The server to start for each --storage; Debian's MySQL is MariaDB.
SERVERS = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}
# A run that does not kill itself, see `_random_write`.
_NEVER = ("0", "0")


@dataclass(frozen=True)
class TrainingSetup:
    """A search space, and settings with which a trial takes a fraction of a second."""

    name: str
    space: str
    settings: tuple[str, ...]
    options: tuple[str, ...] = ()


FAKE = TrainingSetup(
    "fake",
    "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]\nn_layers choice [1, 2, 3, 4]\n",
    ("epochs=4",),
)
# 95 users of ml-100k with short histories.
REAL = TrainingSetup(
    "real",
    "learning_rate choice [0.01, 0.003, 0.001]\nn_layers choice [1, 2]\n",
    (
        "user_inter_num_interval=[20,23]",
        "MAX_ITEM_LIST_LENGTH=5",
        "hidden_size=8",
        "inner_size=16",
        "n_heads=1",
        "train_batch_size=256",
        "epochs=4",
    ),
    ("--checkpoint-every", "1"),
)


Policy = tuple[str, str]
# Trials are paused and continued; see `killed_program.PAUSING`.
PAUSES = ("pausing", "none")
# The default search. It also decides by how long training takes, which differs each time, and is not measured
# with fake training.
DEFAULT = ("freeze-thaw", "none")


@dataclass(frozen=True)
class Scenario:
    """An executor and what it trains, with its `share` of all kills.

    `policies`, each a sampler and a pruner or PAUSES, take turns, one study each. The proposals of tpe,
    and the decisions of pruners and of the default search, depend on which trials have ended. They are
    the same after a kill only with one trial at a time.
    """

    executor: str
    training: TrainingSetup
    workers: int
    policies: tuple[Policy, ...] = (("grid", "none"),)
    share: float = 0.0

    @property
    def name(self) -> str:
        """The name, such as "local-fake"."""
        return f"{self.executor}-{self.training.name}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "inline",
            FAKE,
            1,
            (DEFAULT, PAUSES, ("random", "median"), ("grid", "none"), ("tpe", "median")),
            0.35,
        ),
        Scenario("local", FAKE, 2, (PAUSES, ("grid", "none"), ("random", "none")), 0.45),
        Scenario("inline", REAL, 1, (PAUSES, ("random", "median"), ("grid", "median")), 0.08),
        Scenario("local", REAL, 2, (PAUSES, ("grid", "none")), 0.12),
    )
}


@dataclass
class ScenarioResult:
    """What was counted; `resumes` are the seconds from a start after a kill to the first trial."""

    scenario: Scenario
    workers: int = 0
    coordinators: int = 0
    between_writes: int = 0
    studies: int = 0
    runs: int = 0
    finished: int = 0
    lost: int = 0
    repeated: int = 0
    orphans: int = 0
    faults: int = 0
    resumes: list[float] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Kills of workers and coordinators."""
        return self.workers + self.coordinators

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated or left behind."""
        return not (self.lost or self.repeated or self.orphans or self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return the result for the JSON."""
        return {
            "executor": self.scenario.executor,
            "trials": self.scenario.training.name,
            "kills": {
                "workers": self.workers,
                "coordinators": self.coordinators,
                "of_these_between_writes": self.between_writes,
            },
            "studies": self.studies,
            "runs": self.runs,
            "finished": self.finished,
            "lost": self.lost,
            "repeated": self.repeated,
            "orphans": self.orphans,
            "other_faults": self.faults,
            "resume_seconds": {
                "median": round(statistics.median(self.resumes), 2),
                "max": round(max(self.resumes), 2),
            }
            if self.resumes
            else None,
        }


@dataclass(frozen=True)
class UndisturbedSearch:
    """The search without kills: its study, seconds to its first trial, and from there to its end."""

    study: Reference
    starting: float
    working: float


class Campaign:
    """Runs searches of the scenarios and kills them."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._scratch = scratch
        self._seed = seed
        self._known: dict[tuple[str, Policy], UndisturbedSearch] = {}

    def run(self, scenario: Scenario, kills: int) -> ScenarioResult:
        """Run studies until `kills` kills; the last study is then left to finish."""
        row = ScenarioResult(scenario)
        draw = random.Random(f"{self._seed} {scenario.name}")
        while row.kills < kills:
            policy = scenario.policies[row.studies % len(scenario.policies)]
            self._one_study(row, kills, draw, policy)
            row.studies += 1
            print_progress(
                f"{scenario.name}: {row.kills} of {kills} kills, {row.studies} studies, {row.finished} trials"
            )
        return row

    def _one_study(self, row: ScenarioResult, kills: int, draw: random.Random, policy: Policy) -> None:
        expected = self._undisturbed(row.scenario.training, policy)
        out = self._scratch / f"{row.scenario.name}-{row.studies}"
        audit = self._audit(row.scenario.training, out)
        resumed = finished = False
        while not finished and not audit.faults:
            between_writes = row.kills < kills and draw.random() < 0.35
            moment = _random_write(draw) if between_writes else _NEVER
            workers = 0
            with self._start(row.scenario, policy, out, moment) as run:
                if between_writes:
                    run.wait()
                else:
                    workers = _kill_at_random(run, row.scenario, kills - row.kills, draw, expected)
                row.orphans += run.kill_orphans()
            row.runs += 1
            row.workers += workers
            row.coordinators += run.killed
            row.between_writes += run.killed and between_writes
            if resumed and run.ready is not None:
                row.resumes.append(run.ready)
            audit.record_events(run.events)
            finished = run.code == 0
            if run.killed:
                resumed = True
                audit.check()
            # A run ends when several workers in a row are killed before they have prepared the data.
            elif not finished and not (workers and "was ended by SIGKILL" in run.last_errors()):
                audit.faults.append(f"a run ended with {run.code}: {run.last_errors()}")
        if finished:
            row.finished += audit.compare(expected.study)
        row.lost += len(audit.lost)
        row.repeated += len(audit.repeated)
        row.faults += len(audit.faults)
        for what in audit.faults:
            print_progress(f"{out.name}: {what}")
        if audit.lost or audit.repeated:
            print_progress(f"{out.name}: lost {sorted(audit.lost)}, repeated {sorted(audit.repeated)}")

    def _undisturbed(self, training: TrainingSetup, policy: Policy) -> UndisturbedSearch:
        """Run the search without kills, in the coordinator's own process."""
        if (training.name, policy) not in self._known:
            out = self._scratch / f"undisturbed-{'-'.join((training.name, *policy))}"
            with self._start(Scenario("inline", training, 1), policy, out, _NEVER) as run:
                run.wait()
                seconds = run.seconds
            if run.code != 0 or run.ready is None:
                raise TuneError(f"without a kill the search ends with {run.code}: {run.last_errors()}")
            audit = self._audit(training, out)
            study = read_reference(audit.study_dir, audit.space)
            if (weights := sum(name.endswith(".pth") for name in study.files)) > KEPT_CHECKPOINTS:
                raise TuneError(f"the search without kills leaves the weights of {weights} trials")
            self._known[training.name, policy] = UndisturbedSearch(study, run.ready, seconds - run.ready)
        return self._known[training.name, policy]

    def _audit(self, training: TrainingSetup, out: Path) -> LossAudit:
        return LossAudit(StudyDirectory(out / STUDY), _space(training))

    def _start(self, scenario: Scenario, policy: Policy, out: Path, die: tuple[str, str]) -> KillableRun:
        training = scenario.training
        sampler, pruner = ("grid", "none") if policy == PAUSES else policy
        params = self._scratch / f"{training.name}.test"
        params.write_text(training.space)
        return KillableRun(
            [
                *(sys.executable, "-m", PROGRAM, scenario.executor, training.name, *die),
                *("run", "--params-file", str(params), "--out", str(out), "--study", STUDY, "--json"),
                *("--sampler", sampler, "--pruner", pruner, "--trials", str(_space(training).size)),
                *("--workers", str(scenario.workers), "--gpus", "none", "--retries", str(RETRIES)),
                *(("--until", "never") if policy == DEFAULT else ()),
                *(part for setting in training.settings for part in ("--set", setting)),
                *training.options,
            ],
            self._scratch,
            {PAUSING: "1"} if policy == PAUSES else {},
        )


def _random_write(draw: random.Random) -> tuple[str, str]:
    """Draw after which write a coordinator kills itself, and how many seconds later."""
    point = draw.randint(1, draw.choice((40, 800)))
    # A commit of SQLite takes some milliseconds.
    return str(point), str(draw.choice((0.0, draw.uniform(0.0001, 0.005))))


def _kill_at_random(
    run: KillableRun, scenario: Scenario, kills: int, draw: random.Random, expected: UndisturbedSearch
) -> int:
    """Kill workers, and in the end the coordinator, at random moments: at most `kills`.

    Returns the number of killed workers.
    """
    workers = 0
    while workers < kills:
        if draw.random() < 0.3:
            alive = run.wait_for(draw.uniform(0, expected.starting))
        else:
            alive = run.wait(lambda: run.ready is not None)
            alive = alive and run.wait_for(draw.uniform(0, 0.6 * expected.working))
        if scenario.executor == "local" and draw.random() < 0.65:
            alive = alive and run.wait(run.workers)
            pids = run.workers()
            workers += bool(pids) and kill(draw.choice(pids))
        elif alive:
            run.kill()
            break
        if not alive:
            break
    run.wait()
    return workers


def _space(training: TrainingSetup) -> SearchSpace:
    return parse(training.space)


def _shares(scenarios: Sequence[Scenario], kills: int) -> list[int]:
    """Return the kills of each scenario: `kills` in all, at least one each."""
    whole = sum(scenario.share for scenario in scenarios)
    counts = [max(1, round(kills * scenario.share / whole)) for scenario in scenarios]
    counts[0] = max(1, counts[0] + kills - sum(counts))
    return counts


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the kills.")] = 1,
    scenario: Annotated[
        list[str], typer.Option(help=f"Only this scenario; may be repeated: {', '.join(SCENARIOS)}.")
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
    storage: Annotated[
        str | None,
        typer.Option(
            help="postgresql or mariadb: kill four coordinators on one study, with a server started for them."
        ),
    ] = None,
) -> None:
    """Kill workers and coordinators of searches at random moments, and count lost and repeated trials.

    Prints JSON. The exit code is 1 if a trial was lost or repeated, a process was left behind, or another
    fault was found.
    """
    for name in scenario:
        if name not in SCENARIOS:
            raise InputError(
                f"no scenario {name!r}", where="--scenario", fix=f"One of {', '.join(SCENARIOS)}."
            )
    chosen = [SCENARIOS[name] for name in scenario or SCENARIOS]
    if storage is not None:
        if storage not in SERVERS:
            raise InputError(
                f"unknown storage {storage!r}", where="--storage", fix=f"One of {', '.join(SERVERS)}."
            )
        with tempfile.TemporaryDirectory() as scratch:
            raise typer.Exit(
                0 if multi_run_faults.run_campaign(kills, seed, Path(scratch), SERVERS[storage]) else 1
            )
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(scratch), seed)
        rows = [campaign.run(one, count) for one, count in zip(chosen, _shares(chosen, kills), strict=True)]
    total = sum(row.kills for row in rows)
    print(json.dumps({"kills": total, "seed": seed, "rows": [row.to_json() for row in rows]}, indent=2))
    raise typer.Exit(0 if all(row.clean for row in rows) else 1)


if __name__ == "__main__":
    start(app)
