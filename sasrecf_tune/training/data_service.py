"""Prepares, describes and times the data and the models of a worker's configurations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sasrecf_tune.engine.data_checks import check_files, data_directory
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Engine, Prepared, build, make_config, prepare
from sasrecf_tune.errors import DataError, InputError
from sasrecf_tune.executors.visible_gpus import first_gpu
from sasrecf_tune.inputs.dataset_files import DatasetFiles, fingerprint
from sasrecf_tune.inputs.dataset_rows import other_items
from sasrecf_tune.inputs.metrics import WITH_K, result_keys
from sasrecf_tune.messages import (
    DataSummary,
    Describe,
    FusionTiming,
    Measure,
    MeasureFusion,
    Timing,
    Waiting,
)
from sasrecf_tune.training.device_memory import release_memory
from sasrecf_tune.training.device_timing import time_on_device
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from sasrecf_tune.training.shared_cache import SharedCache


class DataService:
    """Keeps prepared data between requests.

    Args:
        gpu: A GPU as CUDA_VISIBLE_DEVICES names it, "" for the CPU, None for the first GPU if there is one.
        shared: A directory of this run for data that is prepared once for all workers.
        on_waiting: Called when this worker starts and stops waiting for another one to prepare the data.

    Attributes:
        gpu: A GPU as CUDA_VISIBLE_DEVICES names it, or "" for the CPU.

    Raises:
        InputError: There is no such GPU.
    """

    def __init__(
        self,
        gpu: str | None = None,
        shared: Path | None = None,
        on_waiting: Callable[[Waiting], None] = lambda _: None,
    ) -> None:
        if gpu and not torch.cuda.is_available():
            name = f"GPU {gpu}" if gpu.isdigit() else gpu
            raise InputError(f"torch cannot use {name}", where="--gpus", fix="Use --gpus none for the CPU.")
        self.gpu = (first_gpu() if torch.cuda.is_available() else "") if gpu is None else gpu
        self._cache: PreparedCache[Prepared] = PreparedCache()
        self._shared: SharedCache[Prepared] | None = SharedCache(shared, on_waiting) if shared else None
        self._fingerprints: dict[DatasetFiles, str] = {}

    def describe(self, request: Describe) -> DataSummary:
        """Prepare the data and describe it.

        Raises:
            InputError: The configuration or the data set cannot be used.
        """
        config = make_config(request.config, self.gpu)
        item_columns = check_files(config, request.features)
        engine, note = choose_engine(request.engine, config)
        prepared = self.prepare(config, engine)
        train, valid, test = prepared.splits
        dataset = prepared.dataset
        _check_cutoffs(config, int(dataset.item_num) - 1)
        ranked = frozenset(map(str, dataset.field2id_token[dataset.iid_field][1:]))
        notes = other_items(data_directory(config), config, ranked)
        # Without ready-made histories, the first interaction of each user is no sample.
        first = 0 if config["benchmark_filename"] else int(dataset.user_num) - 1
        return DataSummary(
            dataset=str(config["dataset"]),
            users=int(dataset.user_num) - 1,
            items=int(dataset.item_num) - 1,
            interactions=len(train) + len(valid) + len(test) + first,
            train_samples=len(train),
            valid_samples=len(valid),
            test_samples=len(test),
            item_columns=item_columns,
            fingerprint=self.fingerprint(config),
            epochs=int(config["epochs"]),
            metric_keys=result_keys(config["metrics"], config["topk"]),
            device=device_name(config["device"]),
            threads=torch.get_num_threads(),
            notes=(*notes, note) if note else notes,
        )

    def measure(self, request: Measure) -> Timing:
        """Time some training steps and a validation, and extrapolate to an epoch.

        Raises:
            InputError: The configuration or the data set cannot be used.
        """
        try:
            return self._time_steps(request)
        finally:
            release_memory()

    def _time_steps(self, request: Measure) -> Timing:
        config = make_config(request.config, self.gpu)
        self.prepare(config, choose_engine(request.engine, config)[0])  # not part of the trial's setup
        began = time.perf_counter()
        built, _ = self.build(config, request.engine)
        setup = time.perf_counter() - began
        trainer, device, batches = built.trainer, built.trainer.device, iter(built.train)
        steps_per_epoch = len(built.train)
        # The first step includes allocations; it counts only if it is the only one.
        first = time_on_device(lambda: trainer._train_epoch([next(batches)], 0), device)
        counted = min(request.steps, steps_per_epoch - 1)
        rest = [next(batches) for _ in range(counted)]
        seconds = first
        if counted:
            seconds = time_on_device(lambda: trainer._train_epoch(rest, 0), device) / counted
        trainer.eval_collector.data_collect(built.train)
        valid = time_on_device(lambda: trainer.evaluate(built.valid, load_best_model=False), device)
        return Timing(seconds * steps_per_epoch, valid, counted or 1, steps_per_epoch, setup)

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """Compare training several trials as one model with training them in turn.

        Raises:
            InputError: The configuration or the data set cannot be used.
        """
        from sasrecf_tune.training.fusion_timing import measure_fusion

        def build_trial() -> Built:
            return self.build(make_config(request.config, self.gpu), request.engine)[0]

        try:
            return measure_fusion(build_trial, request)
        finally:
            release_memory()

    def build(self, config: Any, engine_name: str) -> tuple[Built, str]:
        """Build model and trainer of a complete configuration; return the engine's note, too."""
        engine, note = choose_engine(engine_name, config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build(config, self.prepare(config, engine), engine), note

    def prepare(self, config: Any, engine: Engine) -> Prepared:
        """Return the data of a complete configuration, from a cache if another one had the same."""
        key = f"{engine.name} {data_key(dict(config.final_config_dict))}"

        def make() -> Prepared:
            return prepare(config, engine)

        shared = self._shared
        return self._cache.get(key, make if shared is None else lambda: shared.get(key, make))

    def fingerprint(self, config: Any) -> str:
        """Return the fingerprint of the data set's files, which are read once."""
        directory = data_directory(config)
        if directory not in self._fingerprints:
            self._fingerprints[directory] = fingerprint(directory)
        return self._fingerprints[directory]


def _check_cutoffs(config: Any, items: int) -> None:
    """Check that items can be ranked: RecBole takes the best topk of all items.

    Raises:
        InputError: There are fewer items, or a single one.
    """
    if items < 2:
        raise DataError(
            f"{items} item is left after filtering, and ranking needs two", where=str(config["data_path"])
        )
    cutoffs = {name.lower() for name in WITH_K}
    if max(config["topk"]) > items and any(name.lower() in cutoffs for name in config["metrics"]):
        raise InputError(
            f"topk {max(config['topk'])} is more than the {items} items",
            fix="Use smaller cut-offs in topk and --metric, or filter out fewer items.",
        )


def choose_engine(name: str, config: Any) -> tuple[Engine, str]:
    """Return the engine called `name`, or RecBole's and a note why."""
    if name == "recbole":
        return RECBOLE_ENGINE, ""
    from sasrecf_tune.engine.fast.build import FAST, unsupported_reason

    reason = unsupported_reason(config)
    return (RECBOLE_ENGINE, f"trained by RecBole's own trainer: {reason}") if reason else (FAST, "")


def device_name(device: torch.device) -> str:
    """Return the GPU's name or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
