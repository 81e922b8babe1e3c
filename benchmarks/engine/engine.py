"""Compare stock RecBole with the fast engine: python -m benchmarks.engine.engine --help."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import (
    JsonFile,
    MarkdownFile,
    Threads,
    print_progress,
    set_threads,
    start,
    write_output,
)
from benchmarks.engine.datasets import ML_100K, Dataset, choose_features, find_datasets, training_config
from benchmarks.engine.matmul_floor import BatchShape, matrix_products, validation_products
from benchmarks.engine.processes import Device, MeasuredProcess, ProcessSetting
from benchmarks.engine.results import markdown_table, summarize
from sasrecf_tune import __version__
from sasrecf_tune.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Options:
    """How often each part is measured."""

    steps: int
    epochs: int
    validations: int
    prepare: int
    agreement: int
    device: Device
    hopwise: str


def compare(data: Dataset, config: dict[str, Any], options: Options) -> dict[str, Any]:
    """Measure one data set with one number of layers, in new processes.

    Raises:
        TuneError: the data cannot be used, or a process has ended.
    """
    # This also reads the files once, so that neither engine waits for the disk.
    fingerprint = data.fingerprint()
    settings = [ProcessSetting(name, options.device, config) for name in ("recbole", "fast")]
    if options.hopwise:
        # It has no data sets of RecBole's.
        own = config | {"data_path": str(data.parent or data.directory().parent)}
        settings.append(ProcessSetting("hopwise", options.device, own, python=options.hopwise))
    with ExitStack() as stack:
        floor, *engines = (
            stack.enter_context(MeasuredProcess(setting))
            for setting in [ProcessSetting("floor", options.device, config), *settings]
        )
        stock = engines[0]
        samples: dict[str, dict[str, list[float]]] = {
            process.engine: {kind: [] for kind in ("prepare", "load", "step", "validation", "epoch")}
            for process in engines
        }
        memory: dict[str, dict[str, dict[str, float]]] = {process.engine: {} for process in engines}

        def note_memory(phase: str) -> None:
            for process in engines:
                memory[process.engine][phase] = process.call("memory")

        def measure(kind: str, request: str) -> None:
            for process in engines:
                samples[process.engine][kind].append(process.call(request))

        environments = {process.engine: process.call("environment") for process in engines}
        note_memory("import")
        print_progress("  preparing")
        measure("prepare", "prepare")
        note_memory("prepared")
        built = [process.call("build") for process in engines]
        sizes = built[0].pop("sizes")
        print_progress(f"  {options.steps} pairs of steps")
        warm_up = {process.engine: process.call("step")["step"] for process in engines}
        floors: list[float] = []
        flops: list[int] = []
        for _ in range(options.steps):
            for process in engines:
                for kind, seconds in process.call("step").items():
                    samples[process.engine][kind].append(seconds)
            batch: BatchShape = stock.call("batch")
            listed = matrix_products(batch, sizes)
            flops.append(sum(product.flops for product in listed))
            floors.append(floor.call("time", listed))
        note_memory("trained")
        print_progress(f"  {options.validations} pairs of validations")
        listed = validation_products(stock.call("validation_batch"), sizes)
        validation_floors: list[float] = []
        warm_up_validation = {process.engine: process.call("validate") for process in engines}
        for _ in range(options.validations):
            measure("validation", "validate")
            validation_floors.append(floor.call("time", listed, False))
        note_memory("validated")
        for number in range(options.epochs):
            print_progress(f"  pair of epochs {number + 1} of {options.epochs}")
            for process, seconds in zip(engines, _epochs(engines), strict=True):
                samples[process.engine]["epoch"].append(seconds)
        if options.epochs:
            note_memory("epoch")
        print_progress("  agreement")
        agreements = _agreements(engines, options.agreement)
        # After all measurements of memory: a second preparation may need more of it.
        for number in range(1, options.prepare):
            print_progress(f"  preparing {number + 1} of {options.prepare}")
            measure("prepare", "prepare")
    result = {
        "data": data.name,
        "fingerprint": fingerprint,
        "layers": config["n_layers"],
        "features": config["selected_features"],
        "config": {key: value for key, value in config.items() if key != "data_path"},
        **built[0],
        "machine": environments["fast"],
        "environments": environments,
        "samples": samples,
        "warm_up_step": warm_up,
        "warm_up_validation": warm_up_validation,
        "memory_mb": memory,
        "agreement": agreements.pop("fast"),
        "floor": {"seconds": floors, "flops": flops, "sizes": asdict(sizes), "validation": validation_floors},
    }
    peers = {
        name: {"summary": summarize(result, name), "agreement": found} for name, found in agreements.items()
    }
    return result | {"summary": summarize(result), "peers": peers}


def _epochs(engines: Sequence[MeasuredProcess]) -> list[float]:
    """Return the seconds of one epoch of each engine: all steps, with loading, and one validation.

    The engines take turns at each step: the machine's speed drifts over the minutes of an epoch.
    """
    for process in engines:
        process.call("start_epoch")
    total = [0.0 for _ in engines]
    while None not in (seconds := [process.call("epoch_step") for process in engines]):
        total = [sum(pair) for pair in zip(total, seconds, strict=True)]
    return [spent + process.call("validate") for spent, process in zip(total, engines, strict=True)]


def _agreements(engines: Sequence[MeasuredProcess], steps: int) -> dict[str, dict[str, Any]]:
    """Compare the other engines with the first one, stock RecBole."""
    with tempfile.TemporaryDirectory() as scratch:
        gradients = Path(scratch) / "gradients.pth"
        stock, *others = (process.call("agreement", steps, gradients) for process in engines)
    return {
        process.engine: {
            "same_batches": stock["batches"] == other["batches"],
            "losses": {"recbole": stock["losses"], process.engine: other["losses"]},
            "loss_difference": max(
                abs(a - b) / abs(a) for a, b in zip(stock["losses"], other["losses"], strict=True)
            ),
            "gradient_difference": max(other["differences"].values()),
            "gradient_differences": other["differences"],
            "largest_gradient": stock["largest_gradient"],
        }
        for process, other in zip(engines[1:], others, strict=True)
    }


@app.command()
def main(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="DIR",
            help=f"{ML_100K} (comes with RecBole), or a directory that holds NAME/NAME.inter or is NAME; "
            "may be repeated.",
        ),
    ] = [ML_100K],  # noqa: B006  # typer reads the default; nothing changes it
    features: Annotated[
        str, typer.Option(metavar="A,B", help="Item features; each data set uses those that it has.")
    ] = "",
    layers: Annotated[str, typer.Option(metavar="1,2,3", help="Numbers of layers.")] = "1,2,3",
    steps: Annotated[int, typer.Option(min=1, help="Pairs of training steps.")] = 5,
    epochs: Annotated[
        int, typer.Option(min=0, help="Pairs of whole epochs; 0 computes them from steps.")
    ] = 0,
    validations: Annotated[int, typer.Option(min=1, help="Pairs of validations.")] = 3,
    prepare: Annotated[int, typer.Option(min=1, help="Pairs of data preparations.")] = 1,
    agreement: Annotated[int, typer.Option(min=1, help="Steps whose losses are compared.")] = 10,
    threads: Threads = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    hopwise: Annotated[
        str, typer.Option(metavar="PYTHON", help="Measure hopwise, too: the interpreter of its environment.")
    ] = "",
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", hidden=True)] = [],  # noqa: B006
) -> None:
    """Compare stock RecBole (and hopwise) with the fast engine: time, memory and agreement, in turns.

    Prints JSON with every sample, and then a table in Markdown.
    """
    set_threads(threads)
    for file in (json_file, markdown):
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError("no such directory", where=str(file.parent))
    if hopwise and shutil.which(hopwise) is None:
        raise InputError("no such program", where=f"--hopwise {hopwise}", fix=_MAKE_ENVIRONMENT)
    counts = _numbers(layers)
    sets = [one for directory in data for one in find_datasets(directory)]
    chosen = choose_features(sets, [name.strip() for name in features.split(",") if name.strip()])
    cases = [
        (one, training_config(one, some, count, set_))
        for one, some in zip(sets, chosen, strict=True)
        for count in counts
    ]
    # Not resolved: the interpreter of an environment may be a link to another one.
    interpreter = str(Path.cwd() / (shutil.which(hopwise) or "")) if hopwise else ""
    options = Options(steps, epochs, validations, prepare, agreement, device, interpreter)
    results = []
    for number, (one, config) in enumerate(cases, 1):
        print_progress(f"{one.name}, layers {config['n_layers']} ({number} of {len(cases)})")
        results.append(compare(one, config, options))
    report = {
        "sasrecf_tune": __version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_STARTED)),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        # Names instead of paths: the location of the files does not matter.
        "arguments": {
            "data": [one.name for one in sets],
            "features": features,
            "layers": counts,
            "threads": threads,
            "set": set_,
            **asdict(options) | {"hopwise": bool(hopwise)},
        },
        "results": results,
    }
    write_output(json.dumps(report, indent=1) + "\n", json_file)
    write_output(markdown_table(results), markdown)


_STARTED = time.time()
_MAKE_ENVIRONMENT = "benchmarks/engine/README.md says how to make the environment."


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{text!r} is not a list of numbers such as 1,2,3", where="--layers")
    return [int(part) for part in parts]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    start(app)
