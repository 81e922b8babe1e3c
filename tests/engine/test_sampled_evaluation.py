"""Evaluation on sampled candidates where a user has several targets: the same with any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Engine, build, make_config, prepare
from sasrecf_tune.engine.recording_trainer import last_of_each
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

SEVERAL = {"split": {"RS": [0.4, 0.3, 0.3]}, "order": "TO", "mode": "uni20", "group_by": None}
ENGINES = pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def built(data: Path, engine: Engine, **changes: Any) -> Built:
    config = make_config(base(data) | {"eval_args": SEVERAL} | changes)
    return build(config, prepare(config, engine), engine)


@given(st.lists(st.integers(0, 9)))
def test_last_of_each(values: list[int]) -> None:
    found = last_of_each(torch.tensor(values, dtype=torch.int64))
    last = {value: place for place, value in enumerate(values)}
    assert found.tolist() == [last[value] for value in sorted(last)]


@ENGINES
def test_the_last_of_several_scores_of_an_item_stays(data: Path, engine: Engine, threads: None) -> None:
    trainer = built(data, engine, eval_batch_size=1 << 20).trainer
    trainer.tot_item_num, users, pairs = 41, 3, 120_000  # torch divides so many among its threads
    draw = torch.Generator().manual_seed(0)
    items = torch.randint(1, 41, (pairs,), generator=draw)
    rows = torch.randint(0, users, (pairs,), generator=draw).sort().values
    trainer.model.predict = lambda interaction: torch.arange(len(interaction), dtype=torch.float32)
    batch = (Interaction({"item_id": items}), rows, torch.arange(users), torch.ones(users, dtype=torch.int64))
    torch.set_num_threads(1)
    expected = Trainer._neg_sample_batch_eval(trainer, batch)[1]
    for number in (1, 2, 3) * 10:
        torch.set_num_threads(number)
        assert torch.equal(trainer._neg_sample_batch_eval(batch)[1], expected)


@ENGINES
def test_metrics_are_recboles_with_one_thread(data: Path, engine: Engine, threads: None) -> None:
    torch.set_num_threads(1)
    for batch_size in (4096, 64):  # the second is smaller than the candidates of one user
        trainer = (made := built(data, engine, eval_batch_size=batch_size)).trainer
        results = []
        for of_recbole in (False, True):
            if of_recbole:
                trainer._neg_sample_batch_eval = partial(Trainer._neg_sample_batch_eval, trainer)
            np.random.seed(1)  # the candidates
            results.append(trainer.evaluate(made.valid, load_best_model=False))
        assert results[0] == results[1]
