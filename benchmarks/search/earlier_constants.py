"""Whether constants that a finished search has learned help a search on other data: --help."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import start
from benchmarks.search.curve_table import Table, read_table
from benchmarks.search.freeze_thaw import freeze_thaw
from benchmarks.search.replay import BUDGETS, Rating, rate
from benchmarks.search.simulator import Simulator
from benchmarks.search.smoothed_truth import smoothed_truth
from sasrecf_tune.search.strategies.curve_constants import FITTED, CurveConstants
from sasrecf_tune.search.strategies.paused_search import PausedSearch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def search(table: Table, run: int, constants: CurveConstants) -> tuple[Rating, CurveConstants]:
    """Play a search that begins with `constants`; return its rating, and the constants that it ended with."""
    drawn = table.with_drawn_seeds(run)
    policy = freeze_thaw(drawn, run)
    assert isinstance(policy, PausedSearch)
    policy._constants = constants
    simulator = Simulator(drawn)
    played = simulator.play(policy)
    learned = policy.survey(simulator._curves()).beliefs.constants
    valid, test = table.final
    truths = smoothed_truth(table, valid), smoothed_truth(table, test)
    return rate(played, table, truths), learned


@app.command()
def main(
    tables: Annotated[list[Path], typer.Argument(help="Tables of benchmarks.search.record_curves.")],
    runs: Annotated[int, typer.Option(min=1, help="Searches of each pair.")] = 10,
) -> None:
    """Search each table with the default constants, and with those learned by a search of each other one.

    A line has the epochs as a share of the grid's, and the mean regret, in standard deviations between seeds,
    at each budget and at the end. Constants are noise, differences and lengths; a search adapts them further.
    """
    warnings.simplefilter("ignore")
    read = {path.name.split(".")[0]: read_table(path) for path in tables}

    @cache
    def plain(name: str, run: int) -> tuple[Rating, CurveConstants]:
        return search(read[name], run, FITTED)

    budgets = " | ".join(f"{share:.1%}" for share in BUDGETS)
    print(f"| searched | constants of | epochs | {budgets} | end |")
    print("|---" * (len(BUDGETS) + 4) + "|")
    for name, table in read.items():
        _print(name, "default", [plain(name, run)[0] for run in range(runs)])
        for other in read:
            if other != name:
                begun = [search(table, run, plain(other, run)[1])[0] for run in range(runs)]
                _print(name, other, begun)


def _print(name: str, constants: str, ratings: list[Rating]) -> None:
    regrets = np.mean([one.regrets[:, 0] for one in ratings], axis=0)
    epochs = np.mean([one.epochs for one in ratings])
    print(f"| {name} | {constants} | {epochs:.1%} | {' | '.join(f'{x:.2f}' for x in regrets)} |", flush=True)


if __name__ == "__main__":
    start(app)
