"""Final models of the synthetic data set, trained in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sasrecf_tune.messages import Decision, Deployment, Job, Result, TrainOn
from sasrecf_tune.training.runner import Runner
from tests.support.synthetic_data import base

FACTS: dict[str, Any] = {
    "engine": "fast",
    "best_epochs": [2],
    "dataset": "every-kind",
    "fingerprint": "abc",
    "origin": {"study": "s", "metric": "MRR@10", "trial": 0, "score": 0.1, "how": "By hand."},
}
FEATURES = {"selected_features": ["colour", "tags", "price"]}


def fitted(
    data: Path,
    directory: Path,
    on: TrainOn = "train",
    engine: str = "fast",
    seeds: tuple[int, ...] = (),
    per_user: Path | None = None,
    **changes: Any,
) -> Result:
    """Train a model and write its directory, without the card; as the worker of `fit` does."""
    directory.mkdir()
    config = base(data) | {"checkpoint_dir": str(directory.parent / "saved")} | changes
    job = Job(
        number=0,
        config=config,
        engine=engine,
        log=directory.parent / "log",
        checkpoint=directory.parent / "saved" / "trial.pth",
        deployment=Deployment(on, directory, FACTS | {"engine": engine}, seeds),
        per_user=per_user,
    )
    outcome = Runner("").train(job, lambda _: Decision.CONTINUE)
    assert isinstance(outcome, Result), outcome
    return outcome
