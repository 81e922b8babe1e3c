"""Draw the figure of replays: python -m benchmarks.search.replay_plot --help."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import typer

from benchmarks.common import start

matplotlib.use("Agg")
# An SVG file with text as text, and the same for the same figures.
plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "replay", "font.family": "sans-serif"}

_COLOURS = ["#d1495b", "#30638e", "#2e8b57", "#8a6fb0", "#b8860b", "#5f6b73", "#00798c", "#a0522d"]
_REGRETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the true regret of each policy with one worker, averaged over the tables; a dot is its end.

    Args:
        rows: Of `benchmarks.search.replay.summarize`.
        path: The file; its name says the format.
    """
    rows = [row for row in rows if row["workers"] == 1]
    figure, axis = plt.subplots(figsize=(8, 3.6))
    for place, policy in enumerate(dict.fromkeys(row["policy"] for row in rows)):
        own = [row for row in rows if row["policy"] == policy]
        shares = [float(budget) for budget in own[0]["regret"]["true"] if budget != "end"]
        means = np.array([[value["mean"] for value in row["regret"]["true"].values()] for row in own])
        *regrets, end = means.mean(axis=0)
        stop = np.mean([row["epochs"]["median"] for row in own])
        # A line ends with the search: later budgets only repeat its choice.
        line = [(share, regret) for share, regret in zip(shares, regrets, strict=True) if share < stop]
        style = {"color": _COLOURS[place % len(_COLOURS)], "linewidth": 2.5 if place == 0 else 1.3}
        axis.plot(*zip(*line, (stop, end), strict=True), label=policy, zorder=3 if place == 0 else 2, **style)
        axis.plot(stop, end, marker="o", markersize=7, zorder=4, color=style["color"])
    axis.set(xscale="log", yscale="log", xlabel="share of the whole grid's epochs")
    ticks = [*shares, 0.5, 1.0]
    axis.set_xticks(ticks, [f"{tick:.1%}".replace(".0%", "%") for tick in ticks])
    shown = axis.get_ylim()
    axis.set_yticks(_REGRETS, [f"{regret:g}" for regret in _REGRETS])
    axis.set_ylim(shown)
    axis.minorticks_off()
    axis.set_ylabel("true regret of the choice\n(standard deviations between seeds)")
    axis.grid(alpha=0.25)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


@app.command()
def main(
    replays: Annotated[
        list[Path], typer.Argument(help="Output of benchmarks.search.replay, then the figure.")
    ],
) -> None:
    """Draw the figure of replays that were printed before."""
    *printed, picture = replays
    plot([row for file in printed for row in json.loads(file.read_text(encoding="utf-8"))], picture)


if __name__ == "__main__":
    start(app)
