"""Kill workers and coordinators at random and count what is lost: python benchmarks/faults.py --help."""

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

import several
import typer
from attack import Run, kill
from entry import say, start
from ledger import Ledger, Reference, survey

from sasrecf_tune.errors import InputError, TuneError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.storage.directory import StudyDirectory

PROGRAM = Path(__file__).with_name("under_attack.py")
STUDY = "study"
# Attempts of a trial whose workers are killed again and again: none may run out of them.
RETRIES = 100
# The server that is started for what --storage names; Debian's MySQL is MariaDB.
SERVERS = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}
# See `_moment`.
_NEVER = ("0", "0")


@dataclass(frozen=True)
class Training:
    """What is trained: a space, and settings under which a trial takes a fraction of a second."""

    name: str
    space: str
    settings: tuple[str, ...]
    options: tuple[str, ...] = ()


FAKE = Training(
    "fake",
    "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]\nn_layers choice [1, 2, 3, 4]\n",
    ("epochs=4",),
)
# 95 users of ml-100k with short histories.
REAL = Training(
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


@dataclass(frozen=True)
class Scenario:
    """An executor and what it trains; `share` of all kills are its.

    `policies`, each a sampler and a pruner, take turns, a study each. What tpe and best-first propose, and
    what a pruner decides, depends on which trials have ended, so only where there is one at a time must it
    be the same after a kill.
    """

    executor: str
    training: Training
    workers: int
    policies: tuple[Policy, ...] = (("grid", "none"),)
    share: float = 0.0

    @property
    def name(self) -> str:
        """Such as "local-fake"."""
        return f"{self.executor}-{self.training.name}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("inline", FAKE, 1, (("best-first", "forecast"), ("grid", "none"), ("tpe", "median")), 0.35),
        Scenario("local", FAKE, 2, (("grid", "none"), ("random", "none")), 0.45),
        Scenario("inline", REAL, 1, (("best-first", "forecast"), ("grid", "median")), 0.08),
        Scenario("local", REAL, 2, share=0.12),
    )
}


@dataclass
class Row:
    """What a scenario came to; `resumes` are seconds from a start to the first trial, after a kill."""

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
        """Of workers and coordinators."""
        return self.workers + self.coordinators

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated or left behind."""
        return not (self.lost or self.repeated or self.orphans or self.faults)

    def shown(self) -> dict[str, Any]:
        """For the JSON."""
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
class Uninterrupted:
    """The search that no kill disturbs: its study, seconds to its first trial, and from there to its end."""

    study: Reference
    starting: float
    working: float


class Campaign:
    """Attacks on the studies of one scenario after the other."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._scratch = scratch
        self._seed = seed
        self._known: dict[tuple[str, Policy], Uninterrupted] = {}

    def attack(self, scenario: Scenario, kills: int) -> Row:
        """Search until so many kills have been survived; the last study is then left to finish."""
        row = Row(scenario)
        draw = random.Random(f"{self._seed} {scenario.name}")
        while row.kills < kills:
            policy = scenario.policies[row.studies % len(scenario.policies)]
            self._one_study(row, kills, draw, policy)
            row.studies += 1
            say(
                f"{scenario.name}: {row.kills} of {kills} kills, {row.studies} studies, {row.finished} trials"
            )
        return row

    def _one_study(self, row: Row, kills: int, draw: random.Random, policy: Policy) -> None:
        expected = self._uninterrupted(row.scenario.training, policy)
        out = self._scratch / f"{row.scenario.name}-{row.studies}"
        ledger = self._ledger(row.scenario.training, out)
        resumed = finished = False
        while not finished and not ledger.faults:
            between_writes = row.kills < kills and draw.random() < 0.35
            moment = _moment(draw) if between_writes else _NEVER
            workers = 0
            with self._start(row.scenario, policy, out, moment) as run:
                if between_writes:
                    run.wait()
                else:
                    workers = _strike(run, row.scenario, kills - row.kills, draw, expected)
                row.orphans += run.left_behind()
            row.runs += 1
            row.workers += workers
            row.coordinators += run.killed
            row.between_writes += run.killed and between_writes
            if resumed and run.ready is not None:
                row.resumes.append(run.ready)
            ledger.hear(run.events)
            finished = run.code == 0
            if run.killed:
                resumed = True
                ledger.check()
            # Several workers in a row that are killed before they have prepared the data end a run.
            elif not finished and not (workers and "was ended by SIGKILL" in run.last_words()):
                ledger.faults.append(f"a run ended with {run.code}: {run.last_words()}")
        if finished:
            row.finished += ledger.compare(expected.study)
        row.lost += len(ledger.lost)
        row.repeated += len(ledger.repeated)
        row.faults += len(ledger.faults)
        for what in ledger.faults:
            say(f"{out.name}: {what}")
        if ledger.lost or ledger.repeated:
            say(f"{out.name}: lost {sorted(ledger.lost)}, repeated {sorted(ledger.repeated)}")

    def _uninterrupted(self, training: Training, policy: Policy) -> Uninterrupted:
        """The search in the coordinator's own process, whatever the executor that is attacked."""
        if (training.name, policy) not in self._known:
            out = self._scratch / f"uninterrupted-{'-'.join((training.name, *policy))}"
            with self._start(Scenario("inline", training, 1), policy, out, _NEVER) as run:
                run.wait()
                seconds = run.seconds
            if run.code != 0 or run.ready is None:
                raise TuneError(f"without a kill the search ends with {run.code}: {run.last_words()}")
            ledger = self._ledger(training, out)
            self._known[training.name, policy] = Uninterrupted(
                survey(ledger.study_dir, ledger.space), run.ready, seconds - run.ready
            )
        return self._known[training.name, policy]

    def _ledger(self, training: Training, out: Path) -> Ledger:
        return Ledger(StudyDirectory(out / STUDY), _space(training))

    def _start(self, scenario: Scenario, policy: Policy, out: Path, die: tuple[str, str]) -> Run:
        training = scenario.training
        sampler, pruner = policy
        params = self._scratch / f"{training.name}.test"
        params.write_text(training.space)
        return Run(
            [
                *(sys.executable, str(PROGRAM), scenario.executor, training.name, *die),
                *("run", "--params-file", str(params), "--out", str(out), "--study", STUDY, "--json"),
                *("--sampler", sampler, "--pruner", pruner, "--trials", str(_space(training).size)),
                *("--workers", str(scenario.workers), "--gpus", "none", "--retries", str(RETRIES)),
                *(part for setting in training.settings for part in ("--set", setting)),
                *training.options,
            ],
            self._scratch,
        )


def _moment(draw: random.Random) -> tuple[str, str]:
    """After which write a coordinator kills itself, and how many seconds after it."""
    point = draw.randint(1, draw.choice((40, 800)))
    # SQLite takes some milliseconds for a commit.
    return str(point), str(draw.choice((0.0, draw.uniform(0.0001, 0.005))))


def _strike(run: Run, scenario: Scenario, kills: int, draw: random.Random, expected: Uninterrupted) -> int:
    """Kill workers, and at last the coordinator, at random moments: `kills` at most.

    Returns how many workers it killed.
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
            there = run.workers()
            workers += bool(there) and kill(draw.choice(there))
        elif alive:
            run.kill()
            break
        if not alive:
            break
    run.wait()
    return workers


def _space(training: Training) -> SearchSpace:
    return parse(training.space)


def _shares(scenarios: Sequence[Scenario], kills: int) -> list[int]:
    """Kills of each scenario, `kills` in all and one for each at least."""
    whole = sum(scenario.share for scenario in scenarios)
    counts = [max(1, round(kills * scenario.share / whole)) for scenario in scenarios]
    counts[0] = max(1, counts[0] + kills - sum(counts))
    return counts


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    kills: Annotated[int, typer.Option(min=1, help="Kills in all.")] = 200,
    seed: Annotated[int, typer.Option(help="Of what is killed when.")] = 1,
    scenario: Annotated[
        list[str], typer.Option(help=f"Only this one; may be repeated: {', '.join(SCENARIOS)}.")
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
    storage: Annotated[
        str | None,
        typer.Option(
            help="postgresql or mariadb: of four coordinators on one study, with a server started for it."
        ),
    ] = None,
) -> None:
    """Kill workers and coordinators of real searches at random moments, and count what that costs.

    Prints JSON. The exit code is 1 when a trial was lost or repeated, a process left behind, or anything
    else went wrong.
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
                f"no kills on {storage!r}", where="--storage", fix=f"One of {', '.join(SERVERS)}."
            )
        with tempfile.TemporaryDirectory() as scratch:
            raise typer.Exit(0 if several.campaign(kills, seed, Path(scratch), SERVERS[storage]) else 1)
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(scratch), seed)
        rows = [
            campaign.attack(one, count) for one, count in zip(chosen, _shares(chosen, kills), strict=True)
        ]
    total = sum(row.kills for row in rows)
    print(json.dumps({"kills": total, "seed": seed, "rows": [row.shown() for row in rows]}, indent=2))
    raise typer.Exit(0 if all(row.clean for row in rows) else 1)


if __name__ == "__main__":
    start(app)
