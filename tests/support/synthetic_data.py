"""A small synthetic data set in RecBole's atomic format, with an item column of each type."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

NAME = "every-kind"
ITEMS = 40


def write_data_set(parent: Path, users: int = 30, longest: int = 12, seed: int = 0) -> Path:
    """Write NAME below `parent`, RecBole's data_path; users have 3 to `longest` + 2 interactions."""
    draw = random.Random(seed)
    directory = parent / NAME
    directory.mkdir()
    lines: list[str] = []
    for user in range(users):
        # Real data has equal times; their order must be RecBole's.
        times = sorted(draw.randrange(50) for _ in range(draw.randint(3, longest + 2)))
        lines += [f"u{user}\ti{draw.randrange(ITEMS)}\t{time}" for time in times]
    draw.shuffle(lines)
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (directory / f"{NAME}.inter").write_text("\n".join([head, *lines]) + "\n")
    lines = ["item_id:token\tcolour:token\ttags:token_seq\tprice:float\tsizes:float_seq"]
    for item in range(ITEMS - 3):  # three items have no features
        tags = " ".join(f"t{draw.randrange(9)}" for _ in range(draw.randint(1, 4)))
        sizes = " ".join(f"{draw.random():.3f}" for _ in range(3))
        lines.append(f"i{item}\tc{draw.randrange(5)}\t{tags}\t{draw.random():.3f}\t{sizes}")
    (directory / f"{NAME}.item").write_text("\n".join(lines) + "\n")
    return parent


def base(parent: Path) -> dict[str, object]:
    """Return a RecBole configuration of a small SASRecF without dropout."""
    return {
        "model": "SASRecF",
        "dataset": NAME,
        "data_path": str(parent),
        "load_col": {
            "inter": ["user_id", "item_id", "timestamp"],
            "item": ["item_id", "colour", "tags", "price", "sizes"],
        },
        "selected_features": ["colour"],
        "numerical_features": ["price", "sizes"],
        "MAX_ITEM_LIST_LENGTH": 8,
        "hidden_size": 8,
        "inner_size": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "train_batch_size": 32,
        "train_neg_sample_args": None,
        "epochs": 2,
        "metrics": ["Recall", "MRR", "NDCG", "GAUC"],
        "topk": [5, 10],
        "valid_metric": "MRR@10",
        "seed": 2020,
    }


def write_inputs(directory: Path, space: str, **settings: object) -> Path:
    """Write what the command line needs: hyper.test, base.yaml, and the data set below `data`."""
    (directory / "data").mkdir()
    write_data_set(directory / "data")
    given = {"model", "dataset", "data_path", "seed", "learning_rate"}  # as options, or searched
    config = {key: value for key, value in base(directory).items() if key not in given}
    (directory / "base.yaml").write_text(yaml.safe_dump(config | settings))
    (directory / "hyper.test").write_text(space)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RecBole's data_path with the data set."""
    return write_data_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def muted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in its own directory, where RecBole creates ./saved, without logs and warnings."""
    monkeypatch.chdir(tmp_path)
    logging.disable(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Like `muted`, but log warnings."""
    monkeypatch.chdir(tmp_path)
    logging.getLogger().setLevel(logging.WARNING)
    yield
    logging.getLogger().setLevel(logging.NOTSET)
