"""Batches from the table of samples against those of RecBole's loader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.engine.fast.batches import epoch_batches, longest_first, reads_table
from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fast.dataset import START
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Prepared, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

PREPARED: PreparedCache[Prepared] = PreparedCache()
CPU = torch.device("cpu")
DROPOUT = {"hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.2}


def trial(data: Path, **changes: Any) -> Built:
    config = make_config(base(data) | changes)
    key = data_key(dict(config.final_config_dict))
    return build(config, PREPARED.get(key, lambda: prepare(config, FAST)), FAST)


class Wrapped:
    """A loader whose batches can only be had by iterating over it."""

    def __init__(self, loader: Any) -> None:
        self._loader, self._dataset = loader, loader._dataset

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([1, 17, 53, 159, 1000]),
    shuffle=st.booleans(),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3),
)
def test_batches_are_those_of_the_loader(data: Path, size: int, shuffle: bool, seeds: list[int]) -> None:
    changes = {"train_batch_size": size, "shuffle": shuffle}
    ours, theirs = ([trial(data, seed=seed, **changes).train for seed in seeds] for _ in range(2))
    assert all(map(reads_table, ours))
    for _ in range(2):  # the second epoch has another order
        expected = zip(*theirs, strict=True)
        for batch in epoch_batches(ours, CPU):
            rows = batch.rows.view(len(seeds), -1)
            for number, interaction in enumerate(next(expected)):
                names = START, "item_length", "item_id"
                for name, column in zip(names, (batch.start, batch.length, batch.positive), strict=True):
                    found = column.view(len(seeds), -1)[number]
                    assert torch.equal(found, interaction[name][rows[number]]), name
            lengths = batch.length.view(len(seeds), -1)
            assert (lengths.diff() <= 0).all() and (lengths.numpy() == batch.lengths).all()
        assert next(expected, None) is None
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.generator.get_state(), other.generator.get_state())


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=40))
def test_samples_of_one_length_keep_their_order(lengths: list[int]) -> None:
    expected = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    assert longest_first(torch.tensor(lengths).numpy()).tolist() == expected


def test_training_is_the_same_to_the_last_bit_without_the_table(data: Path) -> None:
    one, other = (trial(data, **DROPOUT) for _ in range(2))
    losses = []
    for built, samples in ((one, one.train), (other, Wrapped(other.train))):
        torch.manual_seed(1)
        losses.append([built.trainer._train_epoch(samples, epoch) for epoch in range(2)])
    assert losses[0] == losses[1]
    ours, theirs = (built.trainer.model.state_dict() for built in (one, other))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_fused_training_is_the_same_to_the_last_bit_without_the_table(data: Path) -> None:
    losses = []
    for wrap in (lambda loader: loader, Wrapped):
        torch.manual_seed(1)
        trials = [trial(data, seed=seed, **DROPOUT) for seed in range(3)]
        requests = [EpochRequest(one.trainer, wrap(one.train), TrialRng(CPU)) for one in trials]
        fused = FusedTrainer(requests)
        losses.append([fused.train_epoch() for _ in range(2)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
        {"transform": "crop_itemseq"},
    ],
    ids=str,
)
def test_what_the_loader_changes_is_left_to_it(data: Path, changes: dict[str, Any]) -> None:
    assert not reads_table(trial(data, **changes).train)
    config = make_config(base(data))
    assert not reads_table(build(config, prepare(config, RECBOLE_ENGINE), RECBOLE_ENGINE).train)
