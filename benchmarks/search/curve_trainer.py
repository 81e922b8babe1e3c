"""Trains one learning curve, on validation and test, with the fast engine."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import Prepared, build, make_config, prepare
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key

_CACHE: PreparedCache[Prepared] = PreparedCache()


def train_curve(
    config: dict[str, Any], epochs: int, metric: str
) -> Iterator[tuple[float, float | None, float]]:
    """Yield the validation and test score after each epoch, and the processor time so far in seconds.

    The test score is None where RecBole would not keep the weights: validation was better before.
    """
    warnings.simplefilter("ignore")
    # RecBole's trainer creates a directory for checkpoints in the working directory.
    os.chdir(tempfile.gettempdir())
    complete = make_config(config | {"checkpoint_dir": tempfile.gettempdir()})
    key = data_key(dict(complete.final_config_dict))
    built = build(complete, _CACHE.get(key, lambda: prepare(complete, FAST)), FAST)
    trainer = built.trainer
    trainer.eval_collector.data_collect(built.train)
    best = float("-inf")
    started = time.process_time()
    for epoch in range(epochs):
        trainer._train_epoch(built.train, epoch)
        trainer._valid_epoch(built.valid)
        seconds = time.process_time() - started  # the test split is not part of a trial's epoch
        valid = float(trainer.last_valid[metric])
        test = None
        if valid >= best:  # as `early_stopping` in recbole/utils/utils.py
            best = valid
            test = float(trainer.evaluate(built.test, load_best_model=False)[metric])
        yield valid, test, seconds
        started = time.process_time() - seconds
