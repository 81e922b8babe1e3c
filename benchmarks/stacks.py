"""Print what a stack of libraries computes, to compare it with another stack.

    python -m benchmarks.stacks > here.jsonl    # on both stacks, then: diff here.jsonl there.jsonl

One line for each engine and configuration, on ml-100k's users with the fewest interactions: digests of the
initial weights and of the batches of an epoch, losses and metrics with all their digits, and a digest of the
trained weights. The versions go to standard error.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import warnings
from importlib import metadata
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, build, make_config, prepare

_CONFIG: dict[str, Any] = {
    "model": "SASRecF",
    "dataset": "ml-100k",
    "user_inter_num_interval": "[20,23]",
    "load_col": {
        "inter": ["user_id", "item_id", "timestamp"],
        "item": ["item_id", "release_year", "class"],
    },
    "MAX_ITEM_LIST_LENGTH": 10,
    "n_layers": 1,
    "train_batch_size": 256,
    "train_neg_sample_args": None,
    "metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC"],
    "valid_metric": "MRR@10",
    "epochs": 2,
    "seed": 2020,
}
_CASES: list[dict[str, Any]] = [
    {"selected_features": ["class"]},
    {"selected_features": ["class", "release_year"], "numerical_features": []},
    {
        "selected_features": ["class"],
        "loss_type": "BPR",
        "train_neg_sample_args": {
            "distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0,
        },
    },
]  # fmt: skip


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Hash names, shapes and every bit of the values."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def computed(engine: Engine, changes: dict[str, Any], directory: str) -> dict[str, Any]:
    """Return digests of the initial weights, the batches and the trained weights, and all scores."""
    config = make_config(_CONFIG | changes | {"checkpoint_dir": directory}, gpu="")
    prepared = prepare(config, engine)
    batches = hashlib.sha256()
    for batch in build(config, prepared, engine).train:
        batches.update(digest(dict(batch.interaction)).encode())
    made = build(config, prepared, engine)
    weights = digest(made.trainer.model.state_dict())
    scores: list[dict[str, float]] = []
    made.trainer.fit(
        made.train, made.valid, verbose=False, callback_fn=lambda *_: scores.append(made.trainer.last_valid)
    )
    made.trainer.model.load_state_dict(made.trainer.best_state)
    return {
        "engine": engine.name,
        "case": changes,
        "items": prepared.dataset.item_num,
        "weights": weights,
        "batches": batches.hexdigest()[:16],
        "losses": list(made.trainer.train_loss_dict.values()),
        "valid": scores,
        "test": {k: float(v) for k, v in made.trainer.evaluate(made.test, load_best_model=False).items()},
        "trained": digest(made.trainer.best_state),
    }


def main() -> None:
    """Print one line for each engine and configuration."""
    libraries = ("torch", "recbole", "numpy", "pandas", "scipy", "setuptools")
    found = ", ".join(f"{name} {metadata.version(name)}" for name in libraries)
    print(f"Python {platform.python_version()}, {found}", file=sys.stderr)
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for changes in _CASES:
            for engine in (RECBOLE_ENGINE, FAST):
                print(json.dumps(computed(engine, changes, directory)), flush=True)


if __name__ == "__main__":
    main()
