"""hopwise's configuration, data and trainer, behind the functions of sasrecf_tune/engine/recbole.py.

hopwise is a fork of RecBole for numpy 2. Its SASRecF, batches and trainer are RecBole's. It is imported in a
process of its environment, where neither RecBole nor this program's libraries are installed.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any


def make_config(settings: dict[str, Any], gpu: str) -> Any:
    """Return the complete configuration; `gpu` is "" for the CPU."""
    from hopwise.config import Config

    sys.argv = sys.argv[:1]  # Config reads it
    return Config(config_dict=settings | {"gpu_id": gpu, "show_progress": False})


def prepare(config: Any, _engine: object) -> Any:
    """Read, filter and split the data."""
    from hopwise.data import create_dataset

    dataset = create_dataset(config)
    return SimpleNamespace(dataset=dataset, splits=tuple(dataset.build()))


def build(config: Any, prepared: Any, _engine: object) -> Any:
    """Create loaders, model and trainer, seeded as `run_hopwise` does."""
    from hopwise.data.utils import create_samplers, get_dataloader
    from hopwise.utils import get_model, get_trainer, init_seed

    samplers = create_samplers(config, prepared.dataset, list(prepared.splits))
    train, valid, test = (
        get_dataloader(config, phase)(config, split, sampler, shuffle=phase == "train" and config["shuffle"])
        for phase, split, sampler in zip(("train", "valid", "test"), prepared.splits, samplers, strict=True)
    )
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, prepared.splits[0]).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect = trainer.eval_collector.train_data_collect  # RecBole's name
    return SimpleNamespace(trainer=trainer, train=train, valid=valid, test=test)
