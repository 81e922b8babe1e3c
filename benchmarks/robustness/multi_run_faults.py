"""Kills coordinators of which several work on one study, on a database server (faults.py --storage)."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import database_server, print_progress
from benchmarks.robustness.killable_run import KillableRun
from benchmarks.robustness.killed_program import PAUSING
from benchmarks.robustness.loss_audit import outcome
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.open_study import load_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import ENDED, TrialRecord

_PROGRAM = "benchmarks.robustness.killed_program"
_SPACE = "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]\nn_layers choice [1, 2, 3, 4]\n"
_NEVER = ("0", "0")
# How the studies search, in turn. The trials that the policy of tests pauses are the same with
# any number of coordinators; those of the default search depend on which coordinator is faster.
_GRID, _PAUSES, _DEFAULT = ("grid", "pausing", "freeze-thaw")
_MODES = (_PAUSES, _DEFAULT, _GRID)


@dataclass
class FaultCounts:
    """What was counted, with `coordinators` at work at a time."""

    coordinators: int
    kills: int = 0
    between_writes: int = 0
    studies: int = 0
    runs: int = 0
    finished: int = 0
    paused: int = 0
    lost: int = 0
    repeated: int = 0
    orphans: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated or left behind."""
        return not (self.lost or self.repeated or self.orphans or self.faults)


class MultiRunCampaign:
    """Runs studies on which several coordinators work until they are finished, and kills some of them."""

    def __init__(self, scratch: Path, url: str, seed: int, coordinators: int) -> None:
        self._scratch, self._url = scratch, url
        self._draw = random.Random(seed)
        self._counts = FaultCounts(coordinators)
        self._params = scratch / "space.test"
        self._params.write_text(_SPACE)

    def run(self, kills: int) -> FaultCounts:
        """Run studies until `kills` coordinators have been killed."""
        counts = self._counts
        with contextlib.ExitStack() as stack:
            for mode in (_GRID, _PAUSES):
                (alone,) = self._start(stack, mode, mode, "fake", [mode], None)
                alone.wait()
        expected = {mode: self._records(mode, mode, None) for mode in (_GRID, _PAUSES)}
        while counts.kills < kills and not counts.faults:
            mode = _MODES[counts.studies % len(_MODES)]
            self._study(f"study-{counts.studies}", mode, kills, expected)
            counts.studies += 1
            print_progress(
                f"{counts.kills} of {kills} kills, {counts.studies} studies, {counts.finished} trials"
            )
        return counts

    def _study(self, name: str, mode: str, kills: int, expected: dict[str, dict[int, TrialRecord]]) -> None:
        counts = self._counts
        # Two share a directory, as on a cluster; the others have one each, as on separate machines.
        outs = [f"{name}-{max(1, place)}" for place in range(counts.coordinators)]
        kills = min(kills, counts.kills + self._draw.randint(4, 10))
        with contextlib.ExitStack() as stack:
            runs = self._start(stack, name, mode, "slow", outs, self._url)
            done: list[KillableRun] = []
            killed_outside: list[KillableRun] = []
            next_kill = time.monotonic() + self._draw.uniform(0, 3)
            while runs:
                for run in list(runs):
                    if run.wait_for(0.02):
                        continue
                    runs.remove(run)
                    done.append(run)
                    if run.killed:
                        counts.kills += 1
                        counts.between_writes += run not in killed_outside
                        runs += self._start(stack, name, mode, "slow", [self._draw.choice(outs)], self._url)
                    elif run.code != 0:
                        counts.faults.append(f"{name}: a run ended with {run.code}: {run.last_errors()}")
                if runs and counts.kills < kills and time.monotonic() >= next_kill:
                    victim = self._draw.choice(runs)
                    if victim.ready is not None or self._draw.random() < 0.3:
                        killed_outside.append(victim)
                        victim.kill()
                    next_kill = time.monotonic() + self._draw.uniform(0.2, 3)
            counts.orphans += sum(run.kill_orphans() for run in done)
        found = self._records(name, outs[-1], self._url)
        counts.finished += len(found)
        counts.paused += sum(event["event"] == "paused" for run in done for event in run.events)
        if mode == _DEFAULT:
            self._compare_ended(found, expected[_GRID])
        else:
            self._compare(found, expected[mode])
        self._compare_events(name, found, done)

    def _compare(self, found: dict[int, TrialRecord], expected: dict[int, TrialRecord]) -> None:
        """Compare a study with the same search by one coordinator."""
        self._counts.repeated += sum(number not in expected for number in found)
        for number, one in expected.items():
            self._counts.lost += number not in found or outcome(found[number]) != outcome(one)

    def _compare_ended(self, found: dict[int, TrialRecord], expected: dict[int, TrialRecord]) -> None:
        """Compare the trials that a study has ended with those of the same configurations."""
        by_cell = {_cell(record): record for record in expected.values()}
        self._counts.repeated += len(found) - len({_cell(record) for record in found.values()})
        self._counts.lost += len(by_cell.keys() - {_cell(record) for record in found.values()})
        for record in found.values():
            if record.state in ENDED:
                self._counts.lost += outcome(record) != outcome(by_cell[_cell(record)])

    def _compare_events(self, name: str, found: dict[int, TrialRecord], runs: Sequence[KillableRun]) -> None:
        """Compare a study with what its runs reported."""
        counts = self._counts
        ended_by: dict[int, int] = {}
        for run in runs:
            training: set[int] = set()
            for event in run.events:
                if event["event"] not in ("started", "returned", "paused", "ended"):
                    continue
                number = int(event["trial"])
                if event["event"] == "started":
                    training.add(number)
                    continue
                if event["event"] == "ended":
                    self._check_outcome(name, event, found.get(number))
                    ended_by[number] = ended_by.get(number, 0) + (number in training)
                training.discard(number)
        counts.repeated += sum(count > 1 for count in ended_by.values())

    def _check_outcome(self, name: str, event: dict[str, Any], record: TrialRecord | None) -> None:
        """Check that a trial is stored as its end was reported."""
        if record is None or (event["state"], event["score"]) != (record.state, record.score):
            self._counts.faults.append(f"{name}: trial {event['trial']} is not stored as reported")

    def _start(
        self,
        stack: contextlib.ExitStack,
        name: str,
        mode: str,
        training: str,
        outs: Sequence[str],
        url: str | None,
    ) -> list[KillableRun]:
        started = []
        for out in outs:
            own = self._scratch / f"run-{self._counts.runs}"
            own.mkdir()
            self._counts.runs += 1
            command = [
                *(sys.executable, "-m", _PROGRAM, "inline", training),
                *(self._random_write() if url else _NEVER),
                *("run", "--params-file", str(self._params), "--out", str(self._scratch / out), "--json"),
                *("--study", name, "--sampler", _GRID if mode == _PAUSES else mode, "--pruner", "none"),
                *("--set", "epochs=4", "--gpus", "none"),
                *(("--until", "never") if mode == _DEFAULT else ()),
                *(("--storage", url) if url else ()),
            ]
            pausing = {PAUSING: "1"} if mode == _PAUSES else {}
            started.append(stack.enter_context(KillableRun(command, own, pausing)))
        return started

    def _random_write(self) -> tuple[str, str]:
        """Draw after which write a coordinator kills itself, and how many seconds later; mostly never."""
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


def _cell(record: TrialRecord) -> str:
    return json.dumps(record.params, sort_keys=True)


def run_campaign(kills: int, seed: int, scratch: Path, kind: str) -> bool:
    """Run the benchmark and print JSON; returns whether all counts are 0."""
    with database_server(kind) as url:
        counts = MultiRunCampaign(scratch, url, seed, coordinators=4).run(kills)
    for fault in counts.faults:
        print_progress(fault)
    print(json.dumps({"seed": seed, "storage": kind, **vars(counts)}, indent=2))
    return counts.clean
