"""Measures the preparation of a generated data set: seconds, peak memory, and what takes long."""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_BLOCK = 500_000
_NAME = "generated"


def write_data_set(parent: Path, rows: int, users: int, items: int) -> None:
    """Write a data set in RecBole's atomic files: popular items, each with a few features."""
    draw = np.random.default_rng(0)
    directory = parent / _NAME
    directory.mkdir()
    with (directory / f"{_NAME}.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for start in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - start)
            columns = (
                draw.integers(0, users, count),
                draw.zipf(1.3, count) % items,
                draw.integers(1_400_000_000, 1_500_000_000, count),
            )
            file.write("".join(map("A{}\tB{}\t{}\n".format, *(each.tolist() for each in columns))))
    with (directory / f"{_NAME}.item").open("w", encoding="utf-8") as file:
        file.write("item_id:token\tclass:token_seq\n")
        for number in range(items):
            values = draw.integers(0, 50, draw.integers(1, 5)).tolist()
            file.write(f"B{number}\t{' '.join(map('c{}'.format, values))}\n")


def prepare(parent: Path, functions: int) -> None:
    """Prepare the data set in this process, and print the figures as JSON."""
    from sasrecf_tune.engine.fast.build import FAST
    from sasrecf_tune.engine.recbole import make_config
    from sasrecf_tune.engine.recbole import prepare as prepare_data

    config = make_config(
        {
            "model": "SASRecF",
            "dataset": _NAME,
            "data_path": str(parent),
            "selected_features": ["class"],
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]},
            "train_neg_sample_args": None,
        }
    )
    profile = cProfile.Profile(builtins=False) if functions else None
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    prepared = profile.runcall(prepare_data, config, FAST) if profile else prepare_data(config, FAST)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
        "imports_gb": round(before.ru_maxrss / 1e6, 2),
        "samples": [len(split) for split in prepared.splits],
    }
    print(json.dumps(figures))
    if profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(functions)


def main() -> None:
    """Write the data set, and prepare it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=600_000)
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--functions", type=int, default=0, help="how many functions to list with their time")
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.directory is not None:
        prepare(options.directory, options.functions)
        return
    with tempfile.TemporaryDirectory() as directory:
        write_data_set(Path(directory), options.rows, options.users, options.items)
        command = [sys.executable, "-m", "benchmarks.data.prepare", "--directory", directory]
        command += ["--functions", str(options.functions)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    sizes = {name: getattr(options, name) for name in ("rows", "users", "items")}
    print(json.dumps(sizes | json.loads(done.stdout.splitlines()[-1])))


if __name__ == "__main__":
    main()
