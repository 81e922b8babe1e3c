"""Compare a search with the whole grid and run_hyper.py in wall-clock time: see --help.

RecBole's run_hyper.py does not start with current libraries. This tool therefore runs its policy, with
RecBole's own trainer: all configurations in random order, none pruned, ended after 10 trials without a
better result (recbole/trainer/hyper_tuning.py, early_stop=10).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import start
from benchmarks.engine.datasets import ML_100K, Dataset, choose_features, find_datasets, training_config
from benchmarks.search.dataset_reduction import Last, MinItem, MinUser, Reduction, Users, reduce_dataset
from sasrecf_tune.errors import WorkerError

_EARLY_STOP = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass
class SearchResult:
    """What one search found; `best` has (seconds, trial, score) of each new best trial."""

    best: list[tuple[float, int, float]] = field(default_factory=list)
    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    worse: int = 0  # trials since the best one

    def time_to(self, score: float) -> float | None:
        """Return the seconds until a trial had ended with `score` or more."""
        return next((seconds for seconds, _, found in self.best if found >= score), None)

    def to_json(self, score: float) -> dict[str, Any]:
        """Return the result for the JSON, and when it had a trial with `score`; None for never."""
        reached = self.time_to(score)
        return {
            "seconds_to_score": None if reached is None else round(reached, 1),
            "trials": self.trials,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "best": [[round(seconds, 1), trial, score] for seconds, trial, score in self.best],
        }


def run(options: list[str], early_stop: int | None) -> SearchResult:
    """Run a search and follow its events; the clock starts with the process.

    Raises:
        WorkerError: the search found nothing.
    """
    found = SearchResult()
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(
            [sys.executable, "-m", "sasrecf_tune", "run", "--out", scratch, "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            found.seconds = time.perf_counter() - started
            if event["event"] != "ended":
                continue
            found.trials += 1
            found.epochs += event["epochs"]
            score = event["score"] if event["state"] == "complete" else None
            print(f"{found.seconds:.0f} s, trial {event['trial']}: {event['state']} {score}", file=sys.stderr)
            if score is not None and (not found.best or score > found.best[-1][2]):
                found.best.append((found.seconds, event["trial"], score))
                found.worse = 0
            else:
                found.worse += 1
                if early_stop is not None and found.worse >= early_stop:
                    process.kill()
                    break
    if not found.best:
        raise WorkerError("the search found nothing", fix="Its message is above.")
    return found


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
    trials: Annotated[
        int, typer.Option(min=0, help="Trials of the search with default settings; 0: until it ends.")
    ] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="How far below the grid's best score counts as equal.")
    ] = 0.02,
) -> None:
    """Print how long each policy took until it had a configuration as good as the whole grid's choice."""
    reduction = Reduction(users, last, min_item, min_user)
    limit = ["--trials", str(trials)] if trials else []
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for found in [one for name in data or [ML_100K] for one in find_datasets(name)]:
            small = reduce_dataset(found, reduction, Path(scratch))
            common = ["--params-file", str(params_file.resolve()), *_data_options(small, set_ or [])]
            for seed in seeds.split(","):
                options = [*common, "--seed", seed]
                grid = ["--sampler", "grid", "--pruner", "none"]
                found_by = {
                    "grid": run([*options, *grid], None),
                    "run_hyper": run([*options, *grid, "--engine", "recbole"], _EARLY_STOP),
                    "sasrecf_tune": run([*options, *limit], None),
                }
                score = found_by["grid"].best[-1][2] * (1 - tolerance)
                results.append(
                    {"data": found.name, "seed": int(seed), "score": round(score, 4)}
                    | {name: one.to_json(score) for name, one in found_by.items()}
                )
    about = {"params_file": params_file.name, "settings": set_ or [], "reduction": vars(reduction)}
    print(json.dumps({**about, "results": results}, indent=2))


def _data_options(data: Dataset, settings: Sequence[str]) -> list[str]:
    (features,) = choose_features([data], [])
    config = training_config(data, features, 2, settings)
    own = [f"{key}={config[key]!r}" for key in ("selected_features", "load_col")]
    options = ["--dataset", data.name, "--data-path", str(data.parent)]
    return options + [part for setting in [*own, *settings] for part in ("--set", setting)]


if __name__ == "__main__":
    start(app)
