"""Averaged scores of several seeds, against one model and a wider one: --help.

The scores of an ensemble are the mean of its models' scores of all items. A mean of logarithms of
probabilities (log-softmax) differs from it by one number for each user, and orders the items in the same way.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.common import JsonFile, MarkdownFile, print_progress, set_threads, start, write_output
from benchmarks.engine.datasets import Dataset, choose_features, find_datasets, training_config
from benchmarks.search.dataset_reduction import Reduction, reduce_dataset
from sasrecf_tune.inputs.metrics import parse_metric

Floats = NDArray[np.float64]

SIZES = (1, 2, 3, 5)
# A model of five times the width takes 25 times as long.
_WIDTHS = (2, 3)
METRICS = ("MRR@10", "NDCG@10", "Recall@10")
_TOP = 10
_SEED = 2020

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Slice:
    """A reduced data set and a good configuration on it, the best of a recorded table or near it."""

    name: str
    data: str
    reduction: Reduction
    config: dict[str, Any] = field(default_factory=dict)


_USUAL = {
    "learning_rate": 0.003,
    "attn_dropout_prob": 0.1,
    "n_layers": 1,
    "inner_size": 128,
    "train_batch_size": 1024,
}

SLICES = (
    Slice(
        "ml-100k, last 8",
        "ml-100k",
        Reduction(0, 8, 5, 4),
        {"hidden_dropout_prob": 0.3, "MAX_ITEM_LIST_LENGTH": 5},
    ),
    Slice(
        "amazon-beauty, popular",
        "amazon-beauty",
        Reduction(6000, 8, 12, 4),
        {"hidden_dropout_prob": 0.5, "MAX_ITEM_LIST_LENGTH": 5},
    ),
    Slice(
        "ml-100k, last 20",
        "ml-100k",
        Reduction(0, 20, 15, 5),
        {"hidden_dropout_prob": 0.3, "MAX_ITEM_LIST_LENGTH": 10},
    ),
    Slice(
        "amazon-beauty, sparse",
        "amazon-beauty",
        Reduction(3500, 9, 4, 5),
        {"hidden_dropout_prob": 0.3, "MAX_ITEM_LIST_LENGTH": 5},
    ),
)


def place_metrics(places: NDArray[np.int64]) -> Floats:
    """Return METRICS of targets at `places`, from 0."""
    found = places < _TOP
    rank = np.where(found, places, 0) + 1.0
    rows = [found / rank, found / np.log2(rank + 1), found * 1.0]
    return np.array([row.mean() for row in rows])


def ensemble_metrics(scores: list[NDArray[np.float32]], targets: NDArray[np.int64]) -> Floats:
    """Return METRICS of the mean of `scores`, of models each [users, items]."""
    mean = np.mean(scores, axis=0)
    own = mean[np.arange(len(targets)), targets]
    return place_metrics((mean > own[:, None]).sum(axis=1))


class Trainer:
    """Trains configurations on one data set, until early stopping, and scores its test users."""

    def __init__(self) -> None:
        from sasrecf_tune.engine.recbole import Prepared
        from sasrecf_tune.training.prepared_cache import PreparedCache

        self._cache: PreparedCache[Prepared] = PreparedCache()

    def train(self, config: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
        """Return the scores [users, items] of the test users, their targets, and RecBole's METRICS."""
        import torch

        from sasrecf_tune.engine.fast.build import FAST
        from sasrecf_tune.engine.recbole import build, make_config, prepare
        from sasrecf_tune.training.prepared_cache import data_key

        complete = make_config(config)
        key = data_key(dict(complete.final_config_dict))
        built = build(complete, self._cache.get(key, partial(prepare, complete, FAST)), FAST)
        trainer = built.trainer
        trainer.fit(built.train, built.valid, verbose=False, saved=True)
        model = trainer.model
        model.load_state_dict(trainer.best_state)
        measured = trainer.evaluate(built.test, load_best_model=False)
        scores, targets = [], []
        model.eval()
        with torch.no_grad():
            for interaction, _, places, positive in built.test:
                assert len(interaction) == len(places), "each user has one test item"
                scores.append(model.full_sort_predict(interaction).numpy(force=True))
                targets.append(positive.numpy(force=True))
        found = np.concatenate(scores)
        found[:, 0] = -np.inf  # the padding
        return found, np.concatenate(targets), np.array([measured[name.lower()] for name in METRICS])


def measure(one: Slice, data: Dataset, features: tuple[str, ...], groups: int, wide: bool) -> dict[str, Any]:
    """Return METRICS of single models, of ensembles and of wider models, [runs, metrics] each by size."""
    base = training_config(data, features, int(_USUAL["n_layers"]), []) | _USUAL | one.config
    base |= {"topk": [_TOP], "metrics": [name.split("@")[0] for name in METRICS]}
    base |= {"valid_metric": parse_metric("MRR@10").key, "epochs": 100, "metric_decimal_place": 6}
    trainer, most, began = Trainer(), max(SIZES), time.process_time()
    singles: list[Floats] = []
    ensembles: dict[int, list[Floats]] = {size: [] for size in SIZES}
    for group in range(groups):
        scores: list[NDArray[np.float32]] = []
        for seed in range(_SEED + group * most, _SEED + (group + 1) * most):
            own, targets, measured = trainer.train(base | {"seed": seed})
            mine = ensemble_metrics([own], targets)
            assert np.abs(mine - measured).max() < 1e-3, f"{mine} is not RecBole's {measured}"
            singles.append(mine)
            scores.append(own)
            if len(scores) in SIZES:
                ensembles[len(scores)].append(ensemble_metrics(scores, targets))
        print_progress(f"{one.name}: group {group + 1} of {groups}, {time.process_time() - began:.0f} s")
    seconds = (time.process_time() - began) / len(singles)
    widths: dict[int, list[Floats]] = {}
    for size in _WIDTHS if wide else ():
        keys = {key: size * base[key] for key in ("hidden_size", "inner_size")}
        for seed in range(_SEED, _SEED + groups):
            _, _, measured = trainer.train(base | keys | {"seed": seed})
            widths.setdefault(size, []).append(measured)
        print_progress(f"{one.name}: {size} x the width, {time.process_time() - began:.0f} s")
    return {
        "slice": one.name,
        "users": len(targets),
        "items": scores[0].shape[1] - 1,
        "seconds": round(seconds, 2),
        "singles": np.array(singles).tolist(),
        "ensembles": {size: np.array(rows).tolist() for size, rows in ensembles.items()},
        "widths": {size: np.array(rows).tolist() for size, rows in widths.items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return a table in Markdown: the mean and, in parentheses, the standard deviation of each."""
    lines = [
        f"| data | models | {' | '.join(METRICS)} | gain of MRR@10 | of NDCG@10 | of the groups |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        singles = np.array(row["singles"])
        most = max(SIZES)
        own = singles.reshape(-1, most, len(METRICS)).mean(axis=1)
        kinds = [("one", singles, None)]
        kinds += [(f"mean of {size}", np.array(row["ensembles"][size]), own) for size in SIZES if size > 1]
        kinds += [(f"one, {size} x the width", np.array(each), None) for size, each in row["widths"].items()]
        for name, values, paired in kinds:
            cells = [f"{m:.4f} ({s:.4f})" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)]
            gains = values.mean(0) / singles.mean(0) - 1
            better = "" if paired is None else f"{(values > paired)[:, 0].sum()} of {len(values)}"
            cells += [f"{gain:+.1%}" for gain in gains[:2]]
            lines.append(f"| {row['slice']} | {name} | {' | '.join(cells)} | {better} |")
    return "\n".join(lines) + "\n"


@app.command()
def main(
    beauty: Annotated[
        str, typer.Option(metavar="DIR", help="The directory of amazon-beauty; without it ml-100k alone.")
    ] = "",
    only: Annotated[str, typer.Option(help="Only the slices whose name has this in it.")] = "",
    groups: Annotated[int, typer.Option(min=2, help="Groups of five seeds.")] = 4,
    wide: Annotated[bool, typer.Option(help="Train models of a multiple of the width, too.")] = True,
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
) -> None:
    """Test metrics of the mean of N models' scores, for several disjoint groups of seeds."""
    set_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for one in SLICES:
        if only not in one.name or (one.data == "amazon-beauty" and not beauty):
            continue
        (found,) = find_datasets(beauty if one.data == "amazon-beauty" else one.data)
        with tempfile.TemporaryDirectory() as scratch:
            small = reduce_dataset(found, one.reduction, Path(scratch))
            (features,) = choose_features([small], [])
            rows.append(measure(one, small, features, groups, wide))
        if json_file is not None:
            write_output(json.dumps(rows, indent=1) + "\n", json_file)
    write_output(table(rows), markdown)


if __name__ == "__main__":
    start(app)
