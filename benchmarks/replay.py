"""Play search policies against recorded learning curves: python benchmarks/replay.py --help."""

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
from curve_table import METRIC, Floats, Table, read
from entry import start
from instant import made_up, played
from optuna.storages import InMemoryStorage

from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import Pruner, RunSettings, Sampler, SearchSettings
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import State, TrialRecord

MEASURES = ("valid_regret", "test_regret", "rank")
BUDGETS = (0.05, 0.1, 0.25, 0.5, 1.0)

# Differences that chance makes more often are not called any.
_CHANCE = 0.05

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Policy:
    """A sampler and a pruner; `patience` trials without a better result end the search, as RecBole's.

    It is played up to `share` of the grid's epochs.
    """

    sampler: Sampler
    pruner: Pruner
    patience: int | None = None
    share: float = 1.0


# RecBole's policy as run_hyper.py has it: exhaustive in random order, ended after 10 without progress.
POLICIES: dict[str, Policy] = {
    "RecBole (stops after 10)": Policy("grid", "none", 10),
    "grid": Policy("grid", "none"),
    "grid, median": Policy("grid", "median"),
    "random, halving": Policy("random", "halving"),
    "random, hyperband": Policy("random", "hyperband"),
    "tpe": Policy("tpe", "none"),
    "tpe, median": Policy("tpe", "median"),
    "tpe, hyperband": Policy("tpe", "hyperband"),
    # It takes most of a minute for 120 trials, and 30 searches of each table are played.
    "gp": Policy("gp", "none", share=0.25),
    "auto": Policy("auto", "auto"),
    "auto, not pruned": Policy("auto", "none"),
    "auto, median": Policy("auto", "median"),
}


class Replayed:
    """Stands in for training: reports what was recorded of a cell with its seed at index 0."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._cells = {self._key(cell): index for index, cell in enumerate(table.cells)}

    def index(self, params: Mapping[str, Any]) -> int:
        """The cell of these RecBole parameters or labels."""
        return self._cells[self._key(params)]

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params[name] for name in self._table.space.names)

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result:
        """See `worker.Runner.train`."""
        cell = self.index(job.config)
        length = int(self._table.lengths[cell, 0])
        return played(job, map(float, self._table.valid[cell, 0, :length]), on_report)


@dataclass
class Watch(Callback):
    """An observer that counts epochs, notes what would be chosen at any time, and ends the search."""

    limit: int
    patience: int | None
    epochs: int = 0
    chosen: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (epochs by then, parameters)
    best: float = -np.inf
    worse: int = 0
    stop: Callable[[str], None] = lambda _: None

    def on_report(self, report: Report) -> None:
        """See `Callback`."""
        self.epochs += 1
        if self.epochs > self.limit:
            self.stop("the budget is spent")

    def on_trial_end(self, record: TrialRecord) -> None:
        """See `Callback`."""
        if record.state == State.COMPLETE and record.score is not None and record.score > self.best:
            self.best, self.worse = record.score, 0
            self.chosen.append((self.epochs, record.params))
        else:
            self.worse += 1
            if self.patience is not None and self.worse >= self.patience:
                self.stop("patience")

    def at(self, epochs: float) -> dict[str, Any] | None:
        """What is chosen when so many epochs are spent."""
        known = [params for by, params in self.chosen if by <= epochs]
        return known[-1] if known else None


@dataclass(frozen=True)
class Played:
    """A search: the cells chosen at each of BUDGETS (None: nothing yet).

    `spent` is what it took until it ended by itself, or was stopped, as a share of the grid's epochs.
    """

    picks: list[int | None]
    spent: float


def play(table: Table, policy: Policy, policy_seed: int, share: float = 1.0) -> Played:
    """Search with each cell's seed at index 0 seen, and up to `share` of the grid's epochs."""
    replayed = Replayed(table)
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
    plan = make_plan(settings, table.space, base_config(settings, table.space), made_up(table.epochs))
    study = planned_study(plan, study_dir, InMemoryStorage())
    watch = Watch(int(total * share), policy.patience)
    search = Coordinator(
        plan, study, study_dir, InlineExecutor(replayed.train, lambda _: made_up(table.epochs)), [watch]
    )
    watch.stop = search.stop
    search.run()
    picks = [watch.at(total * budget) for budget in BUDGETS]
    return Played([None if pick is None else replayed.index(pick) for pick in picks], watch.epochs / total)


@dataclass(frozen=True)
class Judged:
    """A chosen cell on the seeds that the search did not see, in standard deviations between seeds."""

    valid_regret: float
    test_regret: float
    rank: int


def rank_confirmed(table: Table, cell: int | None) -> Judged:
    """Regret against the cell that is best on the mean of all seeds; nothing chosen is the worst cell."""
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
    return Judged(regrets[0], regrets[1], rank)


def _task(arguments: tuple[Path, str, int, float]) -> tuple[str, list[Judged], float]:
    path, name, run, share = arguments
    warnings.simplefilter("ignore")
    table = _table(path).drawn(run)
    found = play(table, POLICIES[name], run, share)
    return name, [rank_confirmed(table, cell) for cell in found.picks], found.spent


_TABLES: dict[Path, Table] = {}


def _table(path: Path) -> Table:
    if path not in _TABLES:
        _TABLES[path] = read(path)
    return _TABLES[path]


def summary(table: str, runs: Iterable[tuple[str, list[Judged], float]]) -> list[dict[str, Any]]:
    """A row for each policy and budget: quartiles over the runs, and of the differences to others.

    Of each policy the runs stand in the same order: the n-th of all have seen the same.
    """
    found: dict[tuple[str, float], list[Judged]] = {}
    spent: dict[str, list[float]] = {}
    for name, confirmed_ranking, share in runs:
        spent.setdefault(name, []).append(share)
        for budget, one in zip(BUDGETS, confirmed_ranking, strict=True):
            if budget <= POLICIES[name].share:
                found.setdefault((name, budget), []).append(one)
    rows = []
    for (name, budget), confirmed_ranking in found.items():
        row: dict[str, Any] = {
            "table": table,
            "policy": name,
            "budget": budget,
            "runs": len(confirmed_ranking),
        }
        row["spent"] = round(min(budget, float(np.median(spent[name]))), 3)
        for what in MEASURES:
            measured = _measured(confirmed_ranking, what)
            low, middle, high = np.percentile(measured, [25, 50, 75])
            row[what] = {"quartile": round(low, 3), "median": round(middle, 3), "upper": round(high, 3)}
            row[what]["mean"] = round(float(measured.mean()), 3)
            if name != "auto" and ("auto", budget) in found:
                row[what]["against_auto"] = _against(measured, _measured(found["auto", budget], what))
            if ("grid", 1.0) in found:
                behind = measured - _measured(found["grid", 1.0], what)
                row[what]["behind_whole_grid"] = round(float(np.median(behind)), 3)
        rows.append(row)
    for budget in BUDGETS:
        for what in MEASURES:
            correct([row[what]["against_auto"] for row in rows if _is_reference(row, budget, what)])
    return rows


def _is_reference(row: Mapping[str, Any], budget: float, what: str) -> bool:
    variant = row["policy"].startswith("auto")
    return row["budget"] == budget and not variant and "against_auto" in row[what]


def correct(compared: Sequence[dict[str, float]]) -> None:
    """Holm's correction of p for so many comparisons ("A simple sequentially rejective procedure", 1979)."""
    least = 0.0
    for rank, one in enumerate(sorted(compared, key=lambda one: one["p"])):
        least = max(least, min(1.0, one["p"] * (len(compared) - rank)))
        one["corrected"] = round(least, 4)


def _measured(confirmed_ranking: Sequence[Judged], what: str) -> Floats:
    return np.array([getattr(one, what) for one in confirmed_ranking], dtype=float)


def _against(own: Floats, auto: Floats) -> dict[str, float]:
    """The mean difference, below 0 where a policy does better than auto, and how likely chance makes one."""
    from scipy.stats import wilcoxon

    p = float(wilcoxon(own, auto).pvalue) if (own != auto).any() else 1.0
    return {"difference": round(float((own - auto).mean()), 3), "p": round(p, 4)}


@app.command()
def main(
    tables: Annotated[list[Path], typer.Argument(help="Tables of benchmarks/record_curves.py.")],
    policies: Annotated[str, typer.Option(help="Their names, separated by ';'; all without.")] = "",
    runs: Annotated[int, typer.Option(min=2, help="Searches of each policy.")] = 60,
    share: Annotated[float, typer.Option(help="Play up to this share of the grid's epochs.")] = 1.0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    markdown: Annotated[Path | None, typer.Option(help="Write the table for people here.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the picture (PNG) here; needs matplotlib.")
    ] = None,
) -> None:
    """Print for each policy and budget how good its choice is on seeds that it did not see."""
    names = [name.strip() for name in policies.split(";") if name.strip()] or list(POLICIES)
    rows = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for path in tables:
            tasks = [
                (path, name, run, min(share, POLICIES[name].share)) for name in names for run in range(runs)
            ]
            rows += summary(_table(path).name, pool.imap(_task, tasks))
    if markdown is not None:
        atomic_write(markdown, for_people(rows))
    if picture is not None:
        from replay_plot import plot

        plot(rows, "test_regret", picture)
    print(json.dumps(rows, indent=1))


def for_people(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: medians and quartiles, a table for each of the measures; what is better than auto is bold."""
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
    better = against is not None and against["difference"] < 0 and against.get("corrected", 1) < _CHANCE
    return f"**{text}**" if better else text


if __name__ == "__main__":
    start(app)
