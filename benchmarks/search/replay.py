"""Replay search policies against recorded learning curves: python -m benchmarks.search.replay --help."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import start
from benchmarks.search.curve_table import Floats, Table, read_table
from benchmarks.search.policies import POLICIES, find_policy
from benchmarks.search.simulator import Play
from benchmarks.search.smoothed_truth import Truth, smoothed_truth
from sasrecf_tune.storage.files import atomic_write

BUDGETS = (0.025, 0.05, 0.1, 0.25)
# Of a choice: on validation and on test by the smoothed truth; on test, on seeds that the search did not see.
MEASURES = ("true", "true_test", "unseen_test")
END = "end"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Rating:
    """What one search came to.

    Attributes:
        regrets: [budgets and the end, MEASURES], in standard deviations between seeds.
        epochs: As a share of the whole grid's.
        seconds: As a share of the whole grid's with one worker.
        finished: Whether the policy ended by itself.
    """

    regrets: Floats
    epochs: float
    seconds: float
    finished: bool


@cache
def _table(path: Path) -> Table:
    return read_table(path)


@cache
def _truths(path: Path) -> tuple[Truth, Truth]:
    table = _table(path)
    valid, test = table.final
    return smoothed_truth(table, valid), smoothed_truth(table, test)


def rate(played: Play, table: Table, truths: tuple[Truth, Truth]) -> Rating:
    """Judge a search; before anything is chosen, a random cell counts."""
    test = table.final[1]
    unseen = test[:, 1:].mean(axis=1)
    best = int(test.mean(axis=1).argmax())
    measured = np.stack(
        [truths[0].regrets, truths[1].regrets, (unseen[best] - unseen) / truths[1].deviation], axis=1
    )
    picks = [played.choice_at(budget * table.grid_epochs) for budget in BUDGETS] + [played.final_choice]
    regrets = [measured.mean(axis=0) if pick is None else measured[pick] for pick in picks]
    grid_seconds = float((table.lengths[:, 0] * table.epoch_seconds).sum())
    return Rating(
        np.stack(regrets), played.epochs / table.grid_epochs, played.seconds / grid_seconds, played.finished
    )


def _task(arguments: tuple[Path, str, int, int]) -> tuple[tuple[str, str, int], Rating]:
    path, name, workers, run = arguments
    warnings.simplefilter("ignore")
    table = _table(path).with_drawn_seeds(run)
    played = find_policy(name)(table, run, workers)
    return (table.name, name, workers), rate(played, table, _truths(path))


def summarize(runs: Iterable[tuple[tuple[str, str, int], Rating]]) -> list[dict[str, Any]]:
    """Return a row for each table, policy and number of workers: means and medians over the searches."""
    found: dict[tuple[str, str, int], list[Rating]] = {}
    for key, rating in runs:
        found.setdefault(key, []).append(rating)
    rows = []
    for (table, policy, workers), ratings in found.items():
        regrets = np.stack([one.regrets for one in ratings])
        row: dict[str, Any] = {"table": table, "policy": policy, "workers": workers, "searches": len(ratings)}
        row["regret"] = {
            what: {
                str(budget): _center(regrets[:, place, column])
                for place, budget in enumerate([*BUDGETS, END])
            }
            for column, what in enumerate(MEASURES)
        }
        row["epochs"] = _center(np.array([one.epochs for one in ratings]))
        row["seconds"] = _center(np.array([one.seconds for one in ratings]))
        row["finished"] = float(np.mean([one.finished for one in ratings]))
        rows.append(row)
    return rows


def _center(values: Floats) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 3), "median": round(float(np.median(values)), 3)}


def _end_cell(row: dict[str, Any], what: str) -> str:
    return f"{row['regret'][what][END]['mean']:.2f} ({row['epochs']['median']:.1%})"


def markdown_table(rows: Sequence[dict[str, Any]], what: str = "true") -> str:
    """Return the mean regrets of each policy, averaged over the tables.

    A column for each table has the regret at the policy's own end, and the median of the epochs until then.
    The last two have the epochs and seconds until the end, as shares of the whole grid's with one worker.
    """
    head = [*(f"{budget:.1%}".replace(".0%", "%") for budget in BUDGETS), "its end"]
    tables = list(dict.fromkeys(row["table"] for row in rows))
    lines = [
        f"| policy | workers | {' | '.join(head)} | {' | '.join(tables)} | epochs | seconds |",
        "|---" * (len(head) + len(tables) + 4) + "|",
    ]
    for policy, workers in dict.fromkeys((row["policy"], row["workers"]) for row in rows):
        own = {row["table"]: row for row in rows if (row["policy"], row["workers"]) == (policy, workers)}
        places = [*map(str, BUDGETS), END]
        means = [np.mean([row["regret"][what][at]["mean"] for row in own.values()]) for at in places]
        ends = [_end_cell(own[table], what) for table in tables]
        spent = [
            f"{np.mean([row[kind]['median'] for row in own.values()]):.1%}" for kind in ("epochs", "seconds")
        ]
        cells = [policy, str(workers), *(f"{mean:.2f}" for mean in means), *ends, *spent]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@app.command()
def main(
    tables: Annotated[list[Path], typer.Argument(help="Tables of benchmarks.search.record_curves.")],
    policies: Annotated[
        str, typer.Option(help="Names of policies or MODULE:FUNCTION, separated by ';'. Default: all.")
    ] = "",
    runs: Annotated[int, typer.Option(min=1, help="Searches of each policy.")] = 60,
    workers: Annotated[str, typer.Option(help="Simulated workers, separated by commas.")] = "1,4",
    processes: Annotated[int, typer.Option(min=1)] = 2,
    markdown: Annotated[Path | None, typer.Option(help="Write a table here, in Markdown.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the figure (.svg, .png) here; needs matplotlib.")
    ] = None,
) -> None:
    """Print, for each table, policy and number of workers, how good its choice is and when it ends."""
    names = [name.strip() for name in policies.split(";") if name.strip()] or list(POLICIES)
    for name in names:
        find_policy(name)
    tasks = [
        (path, name, int(count), run)
        for path in tables
        for name in names
        for count in workers.split(",")
        for run in range(runs)
    ]
    for path in tables:
        _table(path)  # an error in a table is found before anything is played
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        rows = summarize(pool.imap(_task, tasks, chunksize=4))
    if markdown is not None:
        atomic_write(markdown, markdown_table(rows))
    if picture is not None:
        from benchmarks.search.replay_plot import plot

        plot(rows, picture)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    start(app)
