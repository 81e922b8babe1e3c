"""Compare searches in wall-clock time, until each has the choice of the whole grid: see --help.

RecBole's run_hyper.py does not start with current libraries. This tool therefore runs its policy, with
RecBole's own trainer: all configurations in random order, none pruned, ended after 10 trials without a
better result (recbole/trainer/hyper_tuning.py, early_stop=10).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import typer

from benchmarks.common import JsonFile, print_progress, start, write_output
from benchmarks.engine.datasets import ML_100K, Dataset, choose_features, find_datasets, training_config
from benchmarks.search.curve_table import METRIC
from benchmarks.search.dataset_reduction import Last, MinItem, MinUser, Reduction, Users, reduce_dataset
from benchmarks.search.search_result import SearchResult, Stop, score_on
from benchmarks.search.search_runs import run_hopwise, run_sasrecf_tune
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.constraints import feasible_cells
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace

_EARLY_STOP = 10
# How far below the grid's best score counts as equal.
_TOLERANCE = 0.02
_GRID = ["--sampler", "grid", "--pruner", "none"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    params_file: Annotated[Path, typer.Option(help="A hyper.test.")] = Path("search_spaces/sasrecf.test"),
    data: Annotated[
        list[str] | None, typer.Option(help="ml-100k, or a data set's directory; may be repeated.")
    ] = None,
    users: Users = 0,
    last: Last = 0,
    min_item: MinItem = 0,
    min_user: MinUser = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="RecBole settings.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the searches.")] = "1,2,3",
    hopwise: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="Interpreter of an environment with hopwise.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(min=1, help="Stop a search after this many seconds; not the grid.")
    ] = None,
    until: Annotated[
        str, typer.Option(metavar="0.5|never", help="--until of the default search.", show_default="its own")
    ] = "",
    json_file: JsonFile = None,
) -> None:
    """Print how long each search took until it had a trial as good as the whole grid's choice.

    The default search runs until it ends by itself, the others until they have such a trial.
    """
    space = parse(params_file.read_text(encoding="utf-8"), str(params_file))
    if space.size is None:
        raise InputError("the space is infinite", where=str(params_file))
    reduction = Reduction(users, last, min_item, min_user)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for found in [one for name in data or [ML_100K] for one in find_datasets(name)]:
            small = reduce_dataset(found, reduction, Path(scratch))
            played = {
                seed: _search(small, space, params_file, set_ or [], seed, hopwise, limit, until)
                for seed in map(int, seeds.split(","))
            }
            results += [{"data": found.name, **row} for row in _judge(played)]
    about = {"params_file": params_file.name, "settings": set_ or [], "reduction": vars(reduction)}
    if json_file is not None:
        write_output(json.dumps({**about, "results": results}, indent=2) + "\n", json_file)
    write_output(markdown_table(results), None)


def _search(
    data: Dataset,
    space: SearchSpace,
    params_file: Path,
    settings: Sequence[str],
    seed: int,
    hopwise: Path | None,
    limit: float | None,
    until: str,
) -> dict[str, SearchResult]:
    """Run each search once; returns what each found."""
    (features,) = choose_features([data], [])
    # hopwise has another default for valid_metric.
    config = training_config(data, features, 2, settings) | {"seed": seed, "valid_metric": METRIC.upper()}
    own = [f"{key}={config[key]!r}" for key in ("selected_features", "load_col")]
    options = ["--params-file", str(params_file.resolve()), "--dataset", data.name]
    options += ["--data-path", str(data.parent), "--seed", str(seed), "--metric", METRIC.upper()]
    options += [part for setting in [*own, *settings] for part in ("--set", setting)]

    def report(name: str, result: SearchResult) -> SearchResult:
        print_progress(f"{data.name}, seed {seed}, {name}: {json.dumps(result.to_json(target))}")
        return result

    grid = run_sasrecf_tune([*options, *_GRID], Stop())
    target = _target(grid)
    report("grid", grid)
    found = {"grid": grid}
    ends = ["--until", until] if until else []
    found["sasrecf_tune"] = report("sasrecf_tune", run_sasrecf_tune([*options, *ends], Stop(seconds=limit)))
    run_hyper = run_sasrecf_tune([*options, *_GRID, "--engine", "recbole"], Stop(target, _EARLY_STOP, limit))
    found["run_hyper"] = report("run_hyper", run_hyper)
    if hopwise is not None:
        cells = len(list(feasible_cells(space, config)))
        tuned = run_hopwise(hopwise, space.write(), config, cells, Stop(target, None, limit))
        found["hopwise"] = report("hopwise", tuned)
    return found


def _target(grid: SearchResult) -> float:
    return grid.best[-1][2] * (1 - _TOLERANCE)


def _judge(played: dict[int, dict[str, SearchResult]]) -> list[dict[str, Any]]:
    """Return a row for each seed; the choices are also judged by the grids on the other seeds."""
    rows = []
    for seed, found in played.items():
        others = [one["grid"] for other, one in played.items() if other != seed]
        target = _target(found["grid"])
        row: dict[str, Any] = {"seed": seed, "score": round(target, 4)}
        for name, one in found.items():
            row[name] = one.to_json(target) | {"choice_on_other_seeds": score_on(one.choice, others)}
        rows.append(row)
    return rows


def markdown_table(results: Sequence[dict[str, Any]]) -> str:
    """Return the seconds of each search until the grid's choice, a column for each seed.

    `not, N s`: it had none when it ended, or was stopped, after N seconds. `other seeds`: the mean score that
    its choice has in the grids on the other seeds.
    """
    names = {
        "grid": "whole grid",
        "sasrecf_tune": "default search",
        "run_hyper": "policy of `run_hyper.py`, RecBole's trainer",
        "hopwise": "`hopwise tune`",
    }
    seeds = list(dict.fromkeys(one["seed"] for one in results))
    head = [
        "data",
        "search",
        *(f"seed {seed}" for seed in seeds),
        "its end",
        "trials",
        "epochs",
        "other seeds",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for data in dict.fromkeys(one["data"] for one in results):
        rows = [one for one in results if one["data"] == data]
        for name, text in names.items():
            played = [row[name] for row in rows if name in row]
            if not played:
                continue
            cells = [_time(one) for one in played]
            ended = [one["seconds"] for one in played if one["stopped"] is None]
            end = f"{median(ended):.0f} s" if len(ended) == len(played) else ""
            spent = [f"{median(one[key] for one in played):.0f}" for key in ("trials", "epochs")]
            elsewhere = [one["choice_on_other_seeds"] for one in played]
            spent.append("" if None in elsewhere else f"{mean(elsewhere):.4f}")
            lines.append(f"| {' | '.join([data, text, *cells, end, *spent])} |")
    return "\n".join(lines) + "\n"


def _time(result: dict[str, Any]) -> str:
    reached = result["seconds_to_score"]
    return f"not, {result['seconds']:.0f} s" if reached is None else f"{reached:.0f} s"


if __name__ == "__main__":
    start(app)
