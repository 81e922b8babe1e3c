"""Stock RecBole against the fast engine: python benchmarks/engine.py --help."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from cases import ML_100K, DataSet, choose_features, configuration, find
from entry import JsonFile, MarkdownFile, Threads, say, start, use_threads, write
from floor import Batch, products
from processes import Device, Setting, Side
from results import summarise, table

from sasrecf_tune import __version__
from sasrecf_tune.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Options:
    """How much is measured of each comparison."""

    steps: int
    epochs: int
    validations: int
    prepare: int
    agreement: int
    device: Device


def compare(data: DataSet, config: dict[str, Any], options: Options) -> dict[str, Any]:
    """All measurements of one data set and one number of layers, in processes of their own.

    Raises:
        TuneError: the data cannot be used, or a process is gone.
    """
    # Also reads the files once, so that neither engine is the one to wait for the disk.
    fingerprint = data.fingerprint()
    with ExitStack() as stack:
        stock, fast, floor = (
            stack.enter_context(Side(Setting(name, options.device, config)))
            for name in ("recbole", "fast", "floor")
        )
        pair = (stock, fast)
        samples: dict[str, dict[str, list[float]]] = {
            side.engine: {kind: [] for kind in ("prepare", "load", "step", "validation", "epoch")}
            for side in pair
        }
        memory: dict[str, dict[str, dict[str, float]]] = {side.engine: {} for side in pair}

        def note_memory(phase: str) -> None:
            for side in pair:
                memory[side.engine][phase] = side.ask("memory")

        def measure(kind: str, request: str) -> None:
            for side in pair:
                samples[side.engine][kind].append(side.ask(request))

        abouts = [side.ask("about") for side in pair]
        note_memory("import")
        say("  preparing")
        measure("prepare", "prepare")
        note_memory("prepared")
        built = [side.ask("build") for side in pair]
        sizes = built[0].pop("sizes")
        say(f"  {options.steps} pairs of steps")
        warm_up = {side.engine: side.ask("step")["step"] for side in pair}
        floors: list[float] = []
        flops: list[int] = []
        for _ in range(options.steps):
            for side in pair:
                for kind, seconds in side.ask("step").items():
                    samples[side.engine][kind].append(seconds)
            batch: Batch = stock.ask("batch")
            listed = products(batch, sizes)
            flops.append(sum(product.flops for product in listed))
            floors.append(floor.ask("seconds", listed))
        note_memory("trained")
        say(f"  {options.validations} pairs of validations")
        for _ in range(options.validations):
            measure("validation", "validate")
        note_memory("validated")
        for number in range(options.epochs):
            say(f"  pair of epochs {number + 1} of {options.epochs}")
            for side, seconds in zip(pair, _epochs(pair), strict=True):
                samples[side.engine]["epoch"].append(seconds)
        if options.epochs:
            note_memory("epoch")
        say("  agreement")
        agreement = _agreement(pair, options.agreement)
        # After all that is asked about memory: whoever prepares twice may need more of it.
        for number in range(1, options.prepare):
            say(f"  preparing {number + 1} of {options.prepare}")
            measure("prepare", "prepare")
    result = {
        "data": data.name,
        "fingerprint": fingerprint,
        "layers": config["n_layers"],
        "features": config["selected_features"],
        "config": {key: value for key, value in config.items() if key != "data_path"},
        **built[0],
        "machine": abouts[1],
        "samples": samples,
        "warm_up_step": warm_up,
        "memory_mb": memory,
        "agreement": agreement,
        "floor": {"seconds": floors, "flops": flops, "sizes": asdict(sizes)},
    }
    return result | {"summary": summarise(result)}


def _epochs(pair: Sequence[Side]) -> list[float]:
    """Seconds of one epoch of each: every step of it, loading included, and one validation.

    The steps are taken in turns: over the minutes of an epoch the machine's speed drifts.
    """
    for side in pair:
        side.ask("start_epoch")
    total = [0.0 for _ in pair]
    while None not in (seconds := [side.ask("epoch_step") for side in pair]):
        total = [sum(pair) for pair in zip(total, seconds, strict=True)]
    return [spent + side.ask("validate") for spent, side in zip(total, pair, strict=True)]


def _agreement(pair: Sequence[Side], steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        gradients = Path(scratch) / "gradients.pth"
        stock, fast = (side.ask("agreement", steps, gradients) for side in pair)
    differences = fast["differences"]
    return {
        "same_batches": stock["batches"] == fast["batches"],
        "losses": {"recbole": stock["losses"], "fast": fast["losses"]},
        "loss_difference": max(
            abs(a - b) / abs(a) for a, b in zip(stock["losses"], fast["losses"], strict=True)
        ),
        "gradient_difference": max(differences.values()),
        "gradient_differences": differences,
        "largest_gradient": stock["largest_gradient"],
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
        str, typer.Option(metavar="A,B", help="Item features; each data set takes those that it has.")
    ] = "",
    layers: Annotated[str, typer.Option(metavar="1,2,3", help="Numbers of layers.")] = "1,2,3",
    steps: Annotated[int, typer.Option(min=1, help="Pairs of training steps.")] = 5,
    epochs: Annotated[
        int, typer.Option(min=0, help="Pairs of whole epochs; with 0 they are computed from steps.")
    ] = 0,
    validations: Annotated[int, typer.Option(min=1, help="Pairs of validations.")] = 3,
    prepare: Annotated[int, typer.Option(min=1, help="Pairs of data preparations.")] = 1,
    agreement: Annotated[int, typer.Option(min=1, help="Steps whose losses are compared.")] = 10,
    threads: Threads = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", hidden=True)] = [],  # noqa: B006
) -> None:
    """Compare stock RecBole with the fast engine: time, memory and agreement, in turns on one machine.

    Prints JSON with every sample, and then a table in Markdown.
    """
    use_threads(threads)
    for file in (json_file, markdown):
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError("there is no such directory", where=str(file.parent))
    counts = _numbers(layers)
    sets = [one for directory in data for one in find(directory)]
    chosen = choose_features(sets, [name.strip() for name in features.split(",") if name.strip()])
    cases = [
        (one, configuration(one, some, count, set_))
        for one, some in zip(sets, chosen, strict=True)
        for count in counts
    ]
    options = Options(steps, epochs, validations, prepare, agreement, device)
    results = []
    for number, (one, config) in enumerate(cases, 1):
        say(f"{one.name}, layers {config['n_layers']} ({number} of {len(cases)})")
        results.append(compare(one, config, options))
    report = {
        "sasrecf_tune": __version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_STARTED)),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        # Names in place of paths: where the files lie changes nothing.
        "arguments": {
            "data": [one.name for one in sets],
            "features": features,
            "layers": counts,
            "threads": threads,
            "set": set_,
            **asdict(options),
        },
        "results": results,
    }
    write(json.dumps(report, indent=1) + "\n", json_file)
    write(table(results), markdown)


_STARTED = time.time()


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{text!r} is no list of numbers such as 1,2,3", where="--layers")
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
