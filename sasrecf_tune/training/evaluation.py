"""Evaluates a trained model, and writes the metrics of each user where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sasrecf_tune.engine.fast.evaluation import ranks_all_items
from sasrecf_tune.engine.held_out_ranks import HeldOutRanks
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.per_user_files import Part, per_user_file, write_per_user


def test_metrics(built: Built, per_user: Path | None) -> dict[str, float]:
    """Measure the model on the test part; empty if the split leaves nothing for it.

    Args:
        per_user: Where the metrics of each user are written, too; None for nowhere.
    """
    return _evaluate(built, "test", per_user)


def valid_metrics(built: Built, per_user: Path | None) -> dict[str, float]:
    """Measure the model on the validation part.

    Args:
        per_user: Where the metrics of each user are written, too, if `repeats_validation`; None for nowhere.
    """
    return _evaluate(built, "valid", per_user if repeats_validation(built) else None)


def repeats_validation(built: Built) -> bool:
    """Return whether RecBole ranks the same items at each validation."""
    return ranks_all_items(built.trainer.config, built.valid)


def _evaluate(built: Built, part: Part, per_user: Path | None) -> dict[str, float]:
    trainer = built.trainer
    data = built.test if part == "test" else built.valid
    # None if the split leaves nothing to test on, for example {'LS': 'valid_only'}.
    if per_user is None:
        return _numbers(trainer, trainer.evaluate(data, load_best_model=False))
    with HeldOutRanks(trainer) as ranks:
        metrics = _numbers(trainer, trainer.evaluate(data, load_best_model=False))
    if columns := ranks.columns(built.train._dataset):
        make_directory(per_user.parent)
        write_per_user(per_user_file(per_user, part), columns)
    return metrics


def _numbers(trainer: Any, found: Mapping[str, Any] | None) -> dict[str, float]:
    metrics: dict[str, float] = trainer.as_numbers(found or {})
    return metrics
