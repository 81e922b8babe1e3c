"""Run all benchmarks that concern a GPU: python -m benchmarks.gpu --help."""

from __future__ import annotations

import itertools
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmarks.common import print_progress, start
from benchmarks.fused.trials_per_hour import measure_search
from sasrecf_tune.cli.doctor import probe
from sasrecf_tune.errors import InputError, WorkerError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def describe_machine(device: str) -> dict[str, Any]:
    """Return GPU, driver and versions.

    Raises:
        InputError: a GPU is asked for and torch sees none.
    """
    seen, error = probe()
    gpus = seen.get("gpus") or []
    if device == "cuda" and not gpus:
        why = error or ("torch is built for the CPU only" if not seen.get("cuda") else "torch sees no GPU")
        raise InputError(f"no CUDA GPU: {why}", fix="--device cpu tests the script without a GPU.")
    return {
        "gpu": gpus[0]["name"] if device == "cuda" else "none, the CPU",
        "memory_GiB": round(gpus[0]["total"] / 2**30, 1) if device == "cuda" else None,
        "driver": _driver() if device == "cuda" else None,
        "cuda": seen.get("cuda"),
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: nvidia-smi failed"


def run_benchmark(module: str, arguments: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Run another benchmark; returns its JSON and its Markdown table.

    Raises:
        WorkerError: it failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = {kind: Path(scratch) / kind for kind in ("json", "markdown")}
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        command += [part for kind, file in files.items() for part in (f"--{kind}", str(file))]
        # Its standard output is empty; its progress goes to our standard error.
        if code := subprocess.run(command, check=False).returncode:
            raise WorkerError(f"benchmarks.{module} ended with exit code {code}")
        return json.loads(files["json"].read_text()), files["markdown"].read_text()


def workers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| workers | fuse | trials an hour | memory per worker (MiB) |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row['workers']} | {row['fuse']} | {row['trials_per_hour']:,} | {row['memory_per_worker_MiB']} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


@app.command()
def main(
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu tests the script.")] = "cuda",
    layers: Annotated[
        str, typer.Option(metavar="1,2,3", help="Numbers of layers, as for benchmarks.engine.engine.")
    ] = "1,2,3",
    steps: Annotated[int, typer.Option(min=1, help="Pairs of training steps.")] = 20,
    workers: Annotated[str, typer.Option(metavar="1,2,4", help="Numbers of workers.")] = "1,2,4",
    fuse: Annotated[
        str, typer.Option(metavar="1,4", help="Values of --fuse, for each number of workers.")
    ] = "1,4",
    trials: Annotated[int, typer.Option(min=1, help="Minimum number of trials of each search.")] = 12,
    fused: Annotated[
        str, typer.Option(metavar="1,4,16", help="Numbers of trials, as for benchmarks.fused.fused.")
    ] = "1,4,16",
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting.")] = [],  # noqa: B006
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the JSON here.")
    ] = None,
) -> None:
    """Measure the engine, workers on one GPU, and fused trials; print Markdown tables and JSON.

    The exit code is 2 where torch sees no CUDA GPU.
    """
    found: dict[str, Any] = describe_machine(device)
    sets = [part for setting in set_ for part in ("--set", setting)]
    common = ["--device", device, "--steps", str(steps), *sets]
    print_progress("engine")
    found["engine"], engine = run_benchmark("engine.engine", [*common, "--layers", layers])
    tables = {"The engine against RecBole's own trainer": engine}
    rows = []
    gpus, settings = "0" if device == "cuda" else "none", ["epochs=5", *set_]
    for count, at_once in itertools.product(map(int, workers.split(",")), map(int, fuse.split(","))):
        print_progress(f"{count} worker{'s' * (count > 1)}, --fuse {at_once}")
        rows.append(measure_search(count, at_once, trials, gpus, settings))
    found["workers"] = rows
    tables["Workers that share the GPU" if device == "cuda" else "Workers"] = workers_table(rows)
    print_progress("fused trials")
    found["fused"], tables["Trials trained as one model"] = run_benchmark(
        "fused.fused", [*common, "--trials", fused]
    )
    names = {"gpu": found["gpu"], "driver": found["driver"], "torch": found["torch"]}
    print(", ".join(f"{name} {value}" for name, value in names.items() if value))
    for title, text in tables.items():
        print(f"\n{title}:\n\n{text}", end="")
    content = json.dumps(found, indent=1) + "\n"
    if json_file is None:
        print(f"\n{content}", end="")
    else:
        json_file.write_text(content)


if __name__ == "__main__":
    start(app)
