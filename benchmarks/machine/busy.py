"""The default workers against fixed ones and stock RecBole, on a quiet and a busy machine: --help."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from benchmarks.common import JsonFile, MarkdownFile, print_progress, start, write_output
from benchmarks.engine.datasets import ML_100K, choose_features, find_datasets, training_config
from benchmarks.engine.processes import MeasuredProcess, ProcessSetting
from sasrecf_tune.executors.allocation import Allocation, allocate
from sasrecf_tune.executors.worker import set_threads
from sasrecf_tune.machine import cores, examine_machine

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

DEFAULT, STOCK = "default", "stock RecBole"
QUIET, BESIDE, TWICE = "quiet", "beside one computing process", "two studies at once"
# Trials of a search that never lacks one.
_MANY = 1 << 20
_EPOCHS = 10  # of a trial


@dataclass
class Processes:
    """Processes with a data set and a model, each started when it is first needed."""

    config: dict[str, Any]
    stack: contextlib.ExitStack
    steps_per_epoch: int = 0
    made: dict[tuple[str, int], list[MeasuredProcess]] = field(default_factory=dict)

    def take(self, engine: str, threads: int, count: int) -> list[MeasuredProcess]:
        """Return `count` processes; 0 threads are torch's choice, which stock RecBole has."""
        made = self.made.setdefault((engine, threads), [])
        while len(made) < count:
            print_progress(f"starting a process of {engine} with {threads or 'all'} threads")
            made.append(self._start(engine, threads))
        return made[:count]

    def _start(self, engine: str, threads: int) -> MeasuredProcess:
        setting = ProcessSetting(engine, "cpu", self.config, "benchmarks.machine.measured_steps")
        with _environment(threads):
            process = self.stack.enter_context(MeasuredProcess(setting))
        process.call("prepare")
        self.steps_per_epoch = process.call("build")["steps_per_epoch"]
        process.call("step")
        return process


def measure(processes: Processes, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all settings under all loads in turns; returns the trials in an hour of each turn."""
    have = cores()
    fixed = {f"{w} x {t}": Allocation(w, t) for w, t in dict.fromkeys([(1, 1), (1, have), (have, 1)])}
    turns: list[dict[str, Any]] = []
    with ThreadPoolExecutor(max_workers=2 * have + 2) as threads:

        def steps(engine: str, studies: Sequence[Allocation]) -> float:
            """The steps in a second of all workers of all studies, which train at the same time."""
            wanted: dict[int, int] = {}
            for each in studies:
                wanted[each.threads] = wanted.get(each.threads, 0) + each.workers
            together = [
                one for count, number in wanted.items() for one in processes.take(engine, count, number)
            ]
            return sum(threads.map(lambda one: float(one.call("train", seconds)), together))

        def second_default(first: Allocation) -> Allocation:
            """What a study decides that starts while another one trains."""
            training = threads.submit(steps, "fast", [first])
            second = allocate(examine_machine(), _MANY)
            training.result()
            return second

        for repeat in range(repeats):
            for load in (QUIET, BESIDE, TWICE):
                with _computing(load == BESIDE):
                    ours = [allocate(examine_machine(), _MANY)]
                    if load == TWICE:
                        ours.append(second_default(ours[0]))
                    cases = [
                        (DEFAULT, "fast", ours),
                        *((name, "fast", [one] * len(ours)) for name, one in fixed.items()),
                        (STOCK, "recbole", [Allocation(1, 0)] * len(ours)),
                    ]
                    shift = repeat % len(cases)  # none is always measured after the same other one
                    for name, engine, studies in cases[shift:] + cases[:shift]:
                        rate = steps(engine, studies) * 3600 / (_EPOCHS * processes.steps_per_epoch)
                        workers = " and ".join(f"{each.workers} x {each.threads}" for each in studies)
                        print_progress(f"{repeat + 1} of {repeats}: {load}, {name}: {rate:.1f} trials/h")
                        turns.append({"load": load, "setting": name, "workers": workers, "rate": rate})
    return turns


def summarize(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each load the medians, and the default's ratios: [median, lowest, highest] of the turns."""
    found = []
    for load in dict.fromkeys(turn["load"] for turn in turns):
        rates: dict[str, list[float]] = {}
        for turn in turns:
            if turn["load"] == load:
                rates.setdefault(turn["setting"], []).append(turn["rate"])
        medians = {name: statistics.median(values) for name, values in rates.items()}
        best = max((name for name in medians if name not in (DEFAULT, STOCK)), key=medians.__getitem__)
        used = [turn["workers"] for turn in turns if (turn["load"], turn["setting"]) == (load, DEFAULT)]
        found.append(
            {
                "load": load,
                "default": list(dict.fromkeys(used)),
                "trials_per_hour": medians,
                "best_fixed": best,
                "to_best_fixed": _ratio(rates[DEFAULT], rates[best]),
                "to_stock": _ratio(rates[DEFAULT], rates[STOCK]),
            }
        )
    return found


def markdown_table(summary: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown, one line for each load."""
    settings = list(summary[0]["trials_per_hour"])
    header = ["load", "the default is", *settings, "default / best fixed", "default / stock"]
    lines = [header, ["---"] * len(header)]
    for row in summary:
        lines.append(
            [
                row["load"],
                " or ".join(row["default"]),
                *(f"{row['trials_per_hour'][name]:.3g}" for name in settings),
                f"{_ratio_text(row['to_best_fixed'])} of {row['best_fixed']}",
                _ratio_text(row["to_stock"]),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@app.command()
def main(
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each setting under each load.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Training time of a turn, at least a step.")] = 8.0,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = 2,
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="RecBole setting, for a quick run; may be repeated."),
    ] = [],  # noqa: B006  # typer reads the default; nothing changes it
) -> None:
    """Trials an hour of the default against fixed settings (workers x threads) and stock RecBole.

    On a quiet machine, beside one computing process, and as two studies at once: then of both together.
    Prints a table in Markdown, and with --json every turn.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.pop(name, None)  # stock RecBole has torch's default
    (data,) = find_datasets(ML_100K)
    (features,) = choose_features([data], [])
    with contextlib.ExitStack() as stack:
        processes = Processes(training_config(data, features, layers, set_), stack)
        turns = measure(processes, repeats, seconds)
    summary = summarize(turns)
    if json_file is not None:
        write_output(json.dumps({"summary": summary, "turns": turns}, indent=1) + "\n", json_file)
    write_output(markdown_table(summary), markdown)


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The environment of a worker for a process that is started in the block; 0 changes nothing."""
    before = dict(os.environ)
    if threads:
        set_threads(threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _computing(wanted: bool) -> Iterator[None]:
    """Run a program that computes beside the block, if it is `wanted`."""
    if not wanted:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]


def _ratio_text(ratio: Sequence[float]) -> str:
    median, low, high = ratio
    return f"{median:.2f} [{low:.2f}-{high:.2f}]"


if __name__ == "__main__":
    start(app)
