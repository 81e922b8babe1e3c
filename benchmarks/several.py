"""Kills of coordinators of which several work on one study, on a server started for it; see faults.py."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attack import Run
from entry import say
from ledger import facts

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.open_study import load_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import TrialRecord

_PROGRAM = Path(__file__).with_name("under_attack.py")
_SPACE = "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]\nn_layers choice [1, 2, 3, 4]\n"
_NEVER = ("0", "0")


@dataclass
class Toll:
    """What the kills came to, `coordinators` at work at a time."""

    coordinators: int
    kills: int = 0
    between_writes: int = 0
    studies: int = 0
    runs: int = 0
    finished: int = 0
    lost: int = 0
    repeated: int = 0
    orphans: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated or left behind."""
        return not (self.lost or self.repeated or self.orphans or self.faults)


class Campaign:
    """Studies, each of which several coordinators work on until it is done, whoever of them is killed."""

    def __init__(self, scratch: Path, url: str, seed: int, coordinators: int) -> None:
        self._scratch, self._url = scratch, url
        self._draw = random.Random(seed)
        self._toll = Toll(coordinators)
        self._params = scratch / "several.test"
        self._params.write_text(_SPACE)

    def attack(self, kills: int) -> Toll:
        """Kill so many."""
        toll = self._toll
        with contextlib.ExitStack() as stack:
            (alone,) = self._start(stack, "alone", "fake", ["alone"], None)
            alone.wait()
        expected = self._records("alone", "alone", None)
        while toll.kills < kills and not toll.faults:
            self._study(f"study-{toll.studies}", kills, expected)
            toll.studies += 1
            say(f"{toll.kills} of {kills} kills, {toll.studies} studies, {toll.finished} trials")
        return toll

    def _study(self, name: str, kills: int, expected: dict[int, TrialRecord]) -> None:
        toll = self._toll
        # Two share a directory, as on a cluster; the others have one each, as on machines of their own.
        outs = [f"{name}-{max(1, place)}" for place in range(toll.coordinators)]
        kills = min(kills, toll.kills + self._draw.randint(4, 10))
        with contextlib.ExitStack() as stack:
            runs = self._start(stack, name, "slow", outs, self._url)
            done: list[Run] = []
            struck: list[Run] = []
            next_strike = time.monotonic() + self._draw.uniform(0, 3)
            while runs:
                for run in list(runs):
                    if run.wait_for(0.02):
                        continue
                    runs.remove(run)
                    done.append(run)
                    if run.killed:
                        toll.kills += 1
                        toll.between_writes += run not in struck
                        runs += self._start(stack, name, "slow", [self._draw.choice(outs)], self._url)
                    elif run.code != 0:
                        toll.faults.append(f"{name}: a run ended with {run.code}: {run.last_words()}")
                if runs and toll.kills < kills and time.monotonic() >= next_strike:
                    victim = self._draw.choice(runs)
                    if victim.ready is not None or self._draw.random() < 0.3:
                        struck.append(victim)
                        victim.kill()
                    next_strike = time.monotonic() + self._draw.uniform(0.2, 3)
            toll.orphans += sum(run.left_behind() for run in done)
        self._compare(name, self._records(name, outs[-1], self._url), expected, done)

    def _compare(
        self, name: str, found: dict[int, TrialRecord], expected: dict[int, TrialRecord], runs: Sequence[Run]
    ) -> None:
        toll = self._toll
        toll.finished += len(found)
        toll.repeated += sum(number not in expected for number in found)
        for number, one in expected.items():
            toll.lost += number not in found or facts(found[number]) != facts(one)
        ended_by: dict[int, int] = {}
        for run in runs:
            training: set[int] = set()
            for event in run.events:
                if event["event"] not in ("started", "returned", "ended"):
                    continue
                number = int(event["trial"])
                if event["event"] == "started":
                    training.add(number)
                    continue
                if event["event"] == "ended":
                    self._hold(name, event, found.get(number))
                    ended_by[number] = ended_by.get(number, 0) + (number in training)
                training.discard(number)
        toll.repeated += sum(count > 1 for count in ended_by.values())

    def _hold(self, name: str, event: dict[str, Any], record: TrialRecord | None) -> None:
        """A trial that was said to have ended has, for ever."""
        if record is None or (event["state"], event["score"]) != (record.state, record.score):
            self._toll.faults.append(f"{name}: trial {event['trial']} is not what was said of it")

    def _start(
        self, stack: contextlib.ExitStack, name: str, training: str, outs: Sequence[str], url: str | None
    ) -> list[Run]:
        started = []
        for out in outs:
            own = self._scratch / f"run-{self._toll.runs}"
            own.mkdir()
            self._toll.runs += 1
            command = [
                *(sys.executable, str(_PROGRAM), "inline", training, *(self._moment() if url else _NEVER)),
                *("run", "--params-file", str(self._params), "--out", str(self._scratch / out), "--json"),
                *("--study", name, "--sampler", "grid", "--pruner", "none", "--gpus", "none"),
                *("--set", "epochs=4"),
                *(("--storage", url) if url else ()),
            ]
            started.append(stack.enter_context(Run(command, own)))
        return started

    def _moment(self) -> tuple[str, str]:
        """After which write a coordinator kills itself, and how many seconds after it; mostly never."""
        draw = self._draw
        if draw.random() > 0.35:
            return _NEVER
        return str(draw.randint(1, 400)), str(draw.choice((0.0, draw.uniform(1e-4, 5e-3))))

    def _records(self, name: str, out: str, url: str | None) -> dict[int, TrialRecord]:
        study_dir = StudyDirectory(self._scratch / out / name)
        storage = open_storage(study_dir, url)
        try:
            return {one.number: one for one in load_study(study_dir, storage, parse(_SPACE)).records()}
        finally:
            storage.engine.dispose()


@contextlib.contextmanager
def server(kind: str = "postgresql") -> Iterator[str]:
    """A PostgreSQL or a MariaDB of its own; gives a database's address.

    Raises:
        InputError: there is none on this machine.
    """
    sys.path.append(str(Path(__file__).parent.parent))
    from tests.support.database_servers import MissingError, running

    try:
        with running(kind) as started:
            yield started.create("campaign")
    except MissingError as missing:
        raise InputError(str(missing), where=f"a server of {kind}") from missing


def campaign(kills: int, seed: int, scratch: Path, kind: str, coordinators: int = 4) -> bool:
    """Run it and print JSON; returns whether nothing was lost."""
    with server(kind) as url:
        toll = Campaign(scratch, url, seed, coordinators).attack(kills)
    for fault in toll.faults:
        say(fault)
    print(json.dumps({"seed": seed, "storage": kind, **vars(toll)}, indent=2))
    return toll.clean
