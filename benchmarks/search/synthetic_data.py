"""Make a data set from a known process: python -m benchmarks.search.synthetic_data --help.

The next item follows, by a draw of each step: from the last item, from the one before it, from the last
item's class, or from popularity. What the classes say is learned in a few epochs, what single items say
takes many and overfits. The process is known, so the best possible score is too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import start
from benchmarks.search.curve_table import Floats, Integers

TOP_K = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Process:
    """A Markov process of second order over items.

    Attributes:
        classes: [items], the class of each item.
        by_last: [items, items], chances of the next item by the last.
        by_previous: [items, items], by the one before the last.
        by_class: [classes, items], by the class of the last.
        popularity: [items].
        shares: how often the next item follows from each of these four.
    """

    classes: Integers
    by_last: Floats
    by_previous: Floats
    by_class: Floats
    popularity: Floats
    shares: tuple[float, float, float, float] = (0.3, 0.15, 0.35, 0.2)

    def chances(self, previous: int, last: int) -> Floats:
        """Return [items], the chances of the next item."""
        parts = (
            self.by_last[last],
            self.by_previous[previous],
            self.by_class[self.classes[last]],
            self.popularity,
        )
        return np.asarray(np.array(self.shares) @ np.stack(parts), dtype=float)


def draw_process(items: int, classes: int, draw: np.random.Generator) -> Process:
    """Draw a process: each item has a few successors, each class leads to a few classes."""
    popularity = draw.permutation(1.0 / np.arange(3, items + 3))
    popularity /= popularity.sum()
    of_class = draw.integers(classes, size=items)
    leads = draw.dirichlet(np.full(classes, 0.15), size=classes)  # [classes, classes]
    by_class = leads[:, of_class] * popularity
    by_class /= by_class.sum(axis=1, keepdims=True)
    return Process(of_class, _successors(items, 2, draw), _successors(items, 2, draw), by_class, popularity)


def _successors(items: int, count: int, draw: np.random.Generator) -> Floats:
    chances = np.zeros((items, items))
    for row in chances:
        row[draw.choice(items, count, replace=False)] = draw.dirichlet(np.full(count, 2.0))
    return chances


def draw_histories(process: Process, users: int, length: int, draw: np.random.Generator) -> Integers:
    """Return [users, length], the items of each user in order."""
    items = len(process.popularity)
    histories = np.empty((users, length), dtype=np.int64)
    for history in histories:
        history[:2] = draw.choice(items, 2, p=process.popularity)
        for at in range(2, length):
            history[at] = draw.choice(items, p=process.chances(history[at - 2], history[at - 1]))
    return histories


def best_score(process: Process, histories: Integers) -> float:
    """Return the MRR@10 on the last items of a model that knows the process."""
    ranks = []
    for *_, previous, last, target in histories:
        chances = process.chances(previous, last)
        ranks.append(1 + int((chances > chances[target]).sum()))
    return float(np.mean([1 / rank if rank <= TOP_K else 0.0 for rank in ranks]))


@app.command()
def main(
    directory: Annotated[Path, typer.Argument(help="Written to DIRECTORY/synthetic, in RecBole's files.")],
    users: Annotated[int, typer.Option(min=10)] = 500,
    items: Annotated[int, typer.Option(min=10)] = 150,
    classes: Annotated[int, typer.Option(min=2)] = 12,
    length: Annotated[int, typer.Option(min=5, help="Interactions of each user.")] = 8,
    seed: int = 2020,
) -> None:
    """Write the data set, and print the best possible score on its test split as JSON."""
    draw = np.random.default_rng(seed)
    process = draw_process(items, classes, draw)
    histories = draw_histories(process, users, length, draw)
    target = directory / "synthetic"
    target.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{user}\t{item}\t{when}\n"
        for user, history in enumerate(histories)
        for when, item in enumerate(history)
    ]
    (target / "synthetic.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows))
    known = "".join(f"{item}\tc{process.classes[item]}\n" for item in np.unique(histories))
    (target / "synthetic.item").write_text("item_id:token\tclass:token\n" + known)
    print(json.dumps({"best_possible_test_mrr@10": round(best_score(process, histories), 4)}))


if __name__ == "__main__":
    start(app)
