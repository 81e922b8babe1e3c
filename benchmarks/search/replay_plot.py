"""The figure of a replay: regret of each policy's choice against the budget, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

_COLOURS = ["#d1495b", "#30638e", "#2e8b57", "#8a6fb0", "#b8860b", "#5f6b73", "#00798c", "#a0522d"]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the mean true regret of each policy with one worker, one panel a table; a dot is its end."""
    rows = [row for row in rows if row["workers"] == 1]
    tables = list(dict.fromkeys(row["table"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    figure, axes = plt.subplots(1, len(tables), figsize=(4.5 * len(tables), 4), sharey=True, squeeze=False)
    for axis, table in zip(axes[0], tables, strict=True):
        for row in (row for row in rows if row["table"] == table):
            *budgets, end = (value["mean"] for value in row["regret"]["true"].values())
            shares = [float(budget) for budget in row["regret"]["true"] if budget != "end"]
            colour = _COLOURS[policies.index(row["policy"]) % len(_COLOURS)]
            axis.plot(shares, budgets, color=colour, marker=".", label=row["policy"])
            axis.plot(row["epochs"]["median"], end, color=colour, marker="o")
        axis.set_xscale("log")
        ticks = [*shares, 1.0]
        axis.set_xticks(ticks, [f"{tick:.1%}".replace(".0%", "%") for tick in ticks])
        axis.minorticks_off()
        axis.set_title(table)
        axis.set_xlabel("share of the whole grid's epochs")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("mean true regret\n(standard deviations between seeds)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="lower center", ncols=6)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)
