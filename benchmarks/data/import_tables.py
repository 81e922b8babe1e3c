"""Measures an import: seconds, processor seconds and peak memory for a generated table of interactions."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_BLOCK = 500_000


def write_table(path: Path, rows: int, users: int, items: int) -> None:
    """Write a CSV of random interactions, with popular items and times in seconds since 1970."""
    draw = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - start)
            columns = (
                draw.integers(0, users, count),
                draw.zipf(1.3, count) % items,
                draw.integers(1, 6, count),
                draw.integers(1_400_000_000, 1_500_000_000, count),
            )
            file.write("".join(map("A{},{},{}.0,{}\n".format, *(each.tolist() for each in columns))))


def measure(table: Path) -> dict[str, float]:
    """Import the table in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "sasrecf_tune",
        "import",
        str(table),
        "--out",
        str(table.parent / "out" / "big"),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=600_000)
    parser.add_argument("--items", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "ratings.csv"
        write_table(table, options.rows, options.users, options.items)
        print(json.dumps(vars(options) | measure(table)))


if __name__ == "__main__":
    main()
