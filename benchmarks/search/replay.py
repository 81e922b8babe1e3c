"""Replay search policies against recorded learning curves: python -m benchmarks.search.replay --help."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from optuna.storages import InMemoryStorage
from typing_extensions import override

from benchmarks.common import start
from benchmarks.search.curve_table import METRIC, Floats, Table, read_table
from benchmarks.search.instant_training import fake_data_summary, report_scores
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import Pruner, RunSettings, Sampler, SearchSettings
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import make_policy, planned_study
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import State, TrialRecord

MEASURES = ("valid_regret", "test_regret", "rank")
BUDGETS = (0.05, 0.1, 0.25, 0.5, 1.0)

# Significance level.
_ALPHA = 0.05

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Policy:
    """A sampler and a pruner; the search ends after `patience` trials without a better result, as RecBole's.

    It is replayed up to `share` of the grid's epochs.
    """

    sampler: Sampler
    pruner: Pruner
    patience: int | None = None
    share: float = 1.0


# The policy of RecBole's run_hyper.py: all cells in random order, ended after 10 without a better one.
POLICIES: dict[str, Policy] = {
    "RecBole (stops after 10)": Policy("grid", "none", 10),
    "grid": Policy("grid", "none"),
    "grid, median": Policy("grid", "median"),
    "random, halving": Policy("random", "halving"),
    "random, hyperband": Policy("random", "hyperband"),
    "tpe": Policy("tpe", "none"),
    "tpe, median": Policy("tpe", "median"),
    "tpe, hyperband": Policy("tpe", "hyperband"),
    # One search of 120 trials takes most of a minute.
    "gp": Policy("gp", "none", share=0.25),
    "auto": Policy("auto", "auto"),
    "auto, not pruned": Policy("auto", "none"),
    "auto, median": Policy("auto", "median"),
}


class ReplayedTraining:
    """Replaces training: reports the recorded curve of a cell with its seed at index 0."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._cells = {self._key(cell): index for index, cell in enumerate(table.cells)}

    def index(self, params: Mapping[str, Any]) -> int:
        """Return the index of the cell with these RecBole parameters or labels."""
        return self._cells[self._key(params)]

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params[name] for name in self._table.space.names)

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """Report the recorded scores, as `Runner.train` does."""
        cell = self.index(job.config)
        length = int(self._table.lengths[cell, 0])
        return report_scores(job, map(float, self._table.valid[cell, 0, :length]), on_report)


@dataclass
class BudgetCallback(Callback):
    """Counts epochs, records the best trial at each time, and stops the search at a limit."""

    limit: int
    patience: int | None
    epochs: int = 0
    chosen: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (epochs until then, parameters)
    best: float = -np.inf
    worse: int = 0
    stop: Callable[[str], None] = lambda _: None

    @override
    def on_report(self, report: Report) -> None:
        self.epochs += 1
        if self.epochs > self.limit:
            self.stop("the budget is spent")

    @override
    def on_trial_end(self, record: TrialRecord) -> None:
        if record.state == State.COMPLETE and record.score is not None and record.score > self.best:
            self.best, self.worse = record.score, 0
            self.chosen.append((self.epochs, record.params))
        else:
            self.worse += 1
            if self.patience is not None and self.worse >= self.patience:
                self.stop("patience")

    def choice_after(self, epochs: float) -> dict[str, Any] | None:
        """Return the parameters chosen after `epochs` epochs."""
        known = [params for by, params in self.chosen if by <= epochs]
        return known[-1] if known else None


@dataclass(frozen=True)
class ReplayResult:
    """The cells chosen at each of BUDGETS; None where no trial was complete.

    `spent` is the share of the grid's epochs that the search used until it ended or was stopped.
    """

    picks: list[int | None]
    spent: float


def replay(table: Table, policy: Policy, policy_seed: int, share: float = 1.0) -> ReplayResult:
    """Run a search that sees each cell's seed at index 0, up to `share` of the grid's epochs."""
    replayed = ReplayedTraining(table)
    total = table.grid_epochs
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="replay",
        out=Path("none"),
        dataset="replay",
        base={},
        metric=parse_metric(METRIC),
        seed=policy_seed,
        search=SearchSettings(policy.sampler, policy.pruner, len(table.cells)),
    )
    study_dir = StudyDirectory(Path("replay"))
    plan = make_plan(
        settings, table.space, base_config(settings, table.space), fake_data_summary(table.epochs)
    )
    study = planned_study(plan, study_dir, InMemoryStorage())
    callback = BudgetCallback(int(total * share), policy.patience)
    search = Coordinator(
        plan,
        study,
        study_dir,
        InlineExecutor(replayed.train, lambda _: fake_data_summary(table.epochs)),
        [callback],
        policy=make_policy(plan),
    )
    callback.stop = search.stop
    search.run()
    picks = [callback.choice_after(total * budget) for budget in BUDGETS]
    return ReplayResult(
        [None if pick is None else replayed.index(pick) for pick in picks], callback.epochs / total
    )


@dataclass(frozen=True)
class ChoiceQuality:
    """How good a chosen cell is on the seeds that the search did not see.

    Regrets are in standard deviations between seeds.
    """

    valid_regret: float
    test_regret: float
    rank: int


def rate_choice(table: Table, cell: int | None) -> ChoiceQuality:
    """Return the regret against the cell with the best mean of all seeds; None counts as the worst cell."""
    valid, test = table.final
    regrets = []
    for scores in (valid, test):
        deviation = float(np.sqrt(scores.var(axis=1, ddof=1).mean()))
        best = int(scores.mean(axis=1).argmax())
        mean = scores[:, 1:].mean(axis=1)
        value = mean.min() if cell is None else mean[cell]
        regrets.append((mean[best] - value) / deviation)
    means = valid[:, 1:].mean(axis=1)
    rank = len(table.cells) if cell is None else 1 + int((means > means[cell]).sum())
    return ChoiceQuality(regrets[0], regrets[1], rank)


def _task(arguments: tuple[Path, str, int, float]) -> tuple[str, list[ChoiceQuality], float]:
    path, name, run, share = arguments
    warnings.simplefilter("ignore")
    table = _table(path).with_drawn_seeds(run)
    found = replay(table, POLICIES[name], run, share)
    return name, [rate_choice(table, cell) for cell in found.picks], found.spent


_TABLES: dict[Path, Table] = {}


def _table(path: Path) -> Table:
    if path not in _TABLES:
        _TABLES[path] = read_table(path)
    return _TABLES[path]


def summarize(table: str, runs: Iterable[tuple[str, list[ChoiceQuality], float]]) -> list[dict[str, Any]]:
    """Return a row for each policy and budget: quartiles over the runs, and differences to other policies.

    The runs of all policies are in the same order: the n-th run of each has seen the same seeds.
    """
    found: dict[tuple[str, float], list[ChoiceQuality]] = {}
    spent: dict[str, list[float]] = {}
    for name, choices, share in runs:
        spent.setdefault(name, []).append(share)
        for budget, one in zip(BUDGETS, choices, strict=True):
            if budget <= POLICIES[name].share:
                found.setdefault((name, budget), []).append(one)
    rows = []
    for (name, budget), choices in found.items():
        row: dict[str, Any] = {
            "table": table,
            "policy": name,
            "budget": budget,
            "runs": len(choices),
        }
        row["spent"] = round(min(budget, float(np.median(spent[name]))), 3)
        for what in MEASURES:
            measured = _values(choices, what)
            low, middle, high = np.percentile(measured, [25, 50, 75])
            row[what] = {"quartile": round(low, 3), "median": round(middle, 3), "upper": round(high, 3)}
            row[what]["mean"] = round(float(measured.mean()), 3)
            if name != "auto" and ("auto", budget) in found:
                row[what]["against_auto"] = _compare_with_auto(measured, _values(found["auto", budget], what))
            if ("grid", 1.0) in found:
                behind = measured - _values(found["grid", 1.0], what)
                row[what]["behind_whole_grid"] = round(float(np.median(behind)), 3)
        rows.append(row)
    for budget in BUDGETS:
        for what in MEASURES:
            holm_correction([row[what]["against_auto"] for row in rows if _is_reference(row, budget, what)])
    return rows


def _is_reference(row: Mapping[str, Any], budget: float, what: str) -> bool:
    variant = row["policy"].startswith("auto")
    return row["budget"] == budget and not variant and "against_auto" in row[what]


def holm_correction(compared: Sequence[dict[str, float]]) -> None:
    """Correct p-values for multiple comparisons.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    least = 0.0
    for rank, one in enumerate(sorted(compared, key=lambda one: one["p"])):
        least = max(least, min(1.0, one["p"] * (len(compared) - rank)))
        one["corrected"] = round(least, 4)


def _values(choices: Sequence[ChoiceQuality], what: str) -> Floats:
    return np.array([getattr(one, what) for one in choices], dtype=float)


def _compare_with_auto(own: Floats, auto: Floats) -> dict[str, float]:
    """Return the mean difference, below 0 where a policy is better than auto, and Wilcoxon's p-value."""
    from scipy.stats import wilcoxon

    p = float(wilcoxon(own, auto).pvalue) if (own != auto).any() else 1.0
    return {"difference": round(float((own - auto).mean()), 3), "p": round(p, 4)}


@app.command()
def main(
    tables: Annotated[list[Path], typer.Argument(help="Tables of benchmarks.search.record_curves.")],
    policies: Annotated[str, typer.Option(help="Names of policies, separated by ';'. Default: all.")] = "",
    runs: Annotated[int, typer.Option(min=2, help="Searches of each policy.")] = 60,
    share: Annotated[float, typer.Option(help="Share of the grid's epochs to replay.")] = 1.0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables here, in Markdown.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the figure (PNG) here; needs matplotlib.")
    ] = None,
) -> None:
    """Print, for each policy and budget, how good its choice is on seeds that it did not see."""
    names = [name.strip() for name in policies.split(";") if name.strip()] or list(POLICIES)
    rows = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for path in tables:
            tasks = [
                (path, name, run, min(share, POLICIES[name].share)) for name in names for run in range(runs)
            ]
            rows += summarize(_table(path).name, pool.imap(_task, tasks))
    if markdown is not None:
        atomic_write(markdown, markdown_tables(rows))
    if picture is not None:
        from benchmarks.search.replay_plot import plot

        plot(rows, "test_regret", picture)
    print(json.dumps(rows, indent=1))


def markdown_tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of medians and quartiles for each measure; significantly better than auto is bold."""
    budgets = sorted({row["budget"] for row in rows})
    lines: list[str] = []
    for table in dict.fromkeys(row["table"] for row in rows):
        for what, title in (
            ("test_regret", "regret on test, in standard deviations between seeds"),
            ("valid_regret", "regret on validation, in standard deviations between seeds"),
            ("rank", "rank on validation"),
        ):
            lines += [f"{table}: {title}; median (quartiles)", ""]
            lines += [f"| policy | {' | '.join(f'{budget:.0%}' for budget in budgets)} | ends at |"]
            lines += ["|---" * (len(budgets) + 2) + "|"]
            for policy in dict.fromkeys(row["policy"] for row in rows):
                own = {r["budget"]: r for r in rows if (r["table"], r["policy"]) == (table, policy)}
                digits = 0 if what == "rank" else 2
                cells = [_cell(own[budget][what], digits) if budget in own else "" for budget in budgets]
                cells.append(f"{own[max(own)]['spent']:.0%}")
                lines.append(f"| {policy} | {' | '.join(cells)} |")
            lines.append("")
    return "\n".join(lines)


def _cell(value: Mapping[str, Any], digits: int) -> str:
    text = f"{value['median']:.{digits}f} ({value['quartile']:.{digits}f} to {value['upper']:.{digits}f})"
    against = value.get("against_auto")
    better = against is not None and against["difference"] < 0 and against.get("corrected", 1) < _ALPHA
    return f"**{text}**" if better else text


if __name__ == "__main__":
    start(app)
