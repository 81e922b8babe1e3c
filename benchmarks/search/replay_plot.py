"""The figure of a replay: regret of each policy's choice against the budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

_COLOURS = {"auto": "#d1495b"}
_OTHERS = [
    "#30638e",
    "#2e8b57",
    "#8a6fb0",
    "#b8860b",
    "#5f6b73",
    "#00798c",
    "#a0522d",
    "#708090",
    "#9acd32",
    "#c71585",
    "#8b6914",
]


def plot(rows: Sequence[dict[str, Any]], what: str, path: Path) -> None:
    """Plot median and quartiles of `what` (such as "test_regret") for each policy, one panel a table."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    colours = (
        dict(zip([name for name in policies if name not in _COLOURS], _OTHERS * 3, strict=False)) | _COLOURS
    )
    figure, axes = plt.subplots(1, len(tables), figsize=(6 * len(tables), 5), sharey=True, squeeze=False)
    for axis, table in zip(axes[0], tables, strict=True):
        for place, policy in enumerate(policies):
            own = sorted(
                (row for row in rows if row["table"] == table and row["policy"] == policy),
                key=lambda row: row["budget"],
            )
            # Shifted sideways: all policies have the same budgets.
            x = [row["budget"] * (1 + 0.04 * (place - len(policies) / 2)) for row in own]
            middle = [row[what]["median"] for row in own]
            below = [row[what]["median"] - row[what]["quartile"] for row in own]
            above = [row[what]["upper"] - row[what]["median"] for row in own]
            first = policy == "auto"
            axis.errorbar(
                x,
                middle,
                yerr=[below, above],
                color=colours[policy],
                marker="o" if first else ".",
                linewidth=2.2 if first else 1.0,
                elinewidth=1.6 if first else 0.7,
                zorder=3 if first else 2,
                label=policy,
            )
        axis.set_xscale("log")
        budgets = sorted({row["budget"] for row in rows})
        axis.set_xticks(budgets, [f"{budget:.0%}" for budget in budgets])
        axis.minorticks_off()
        axis.set_title(table)
        axis.set_xlabel("share of the whole grid's epochs")
        axis.grid(alpha=0.25)
        axis.axhline(0, color="black", linewidth=0.6)
    axes[0][0].set_ylabel(f"{what.replace('_', ' ')} on unseen seeds\n(standard deviations between seeds)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="lower center", ncols=6)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)
