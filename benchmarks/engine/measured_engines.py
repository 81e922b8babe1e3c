"""What runs in the processes of engine.py: a training engine, or plain matrix products."""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.matmul_floor import BatchShape, MatrixProduct, ModelSizes, time_products
from benchmarks.engine.processes import Device, ProcessSetting
from sasrecf_tune.errors import InputError


def make(setting: ProcessSetting) -> MeasuredEngine | MatmulFloor:
    """Return what `setting` names.

    Raises:
        InputError: a GPU is asked for and torch finds none.
    """
    device = pick_device(setting.device)
    return MatmulFloor(device) if setting.engine == "floor" else MeasuredEngine(setting, device)


def pick_device(asked: Device) -> str:
    """Return the device to train on, cuda or cpu.

    Raises:
        InputError: a GPU is asked for and torch finds none.
    """
    cuda = torch.cuda.is_available()
    if asked == "cuda" and not cuda:
        raise InputError("torch finds no CUDA device", where="--device cuda")
    return "cuda" if cuda and asked != "cpu" else "cpu"


class MatmulFloor:
    """Times matrix products, in a process of its own so that its memory is not counted as the engines'."""

    def __init__(self, device: str) -> None:
        self._device = device

    def time(self, products: list[MatrixProduct], backward: bool = True) -> float:
        """Return the seconds of all products, forward and backward."""
        return time_products(products, self._device, backward)


class MeasuredEngine:
    """The engine `recbole`, `fast` or `hopwise`. Methods that return a number return seconds."""

    def __init__(self, setting: ProcessSetting, device: str) -> None:
        self._library = "hopwise" if setting.engine == "hopwise" else "recbole"
        # All engines need the library's models: their import belongs to the baseline of the memory.
        import_module(f"{self._library}.model.sequential_recommender")
        self._bridge: Any
        self._engine: Any = None
        if setting.engine == "hopwise":
            self._bridge = import_module("benchmarks.engine.hopwise_library")
        else:
            self._bridge = import_module("sasrecf_tune.engine.recbole")
            self._engine = self._bridge.RECBOLE_ENGINE
        if setting.engine not in ("recbole", "hopwise"):
            from sasrecf_tune.engine.fast.build import FAST

            self._engine = FAST
        self._device = device
        self._gpu = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0] if device == "cuda" else ""
        self._config = setting.config
        self._prepared: Any = None
        self._built: Any = None
        self._iterator: Iterator[Any] = iter(())
        if device == "cuda":
            torch.zeros(1, device=device)  # the CUDA context belongs to the baseline

    def environment(self) -> dict[str, Any]:
        """Return versions, threads and the device."""
        return {
            "versions": {
                "python": sys.version.split()[0],
                **{name: version(name) for name in ("torch", self._library, "numpy")},
            },
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if self._device == "cuda" else "cpu",
        }

    def memory(self) -> dict[str, float]:
        """Return the peak so far in MB (2^20 bytes), of the process and on a GPU of torch's allocations."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == "darwin" else 1024
        found = {"rss": peak * unit / 2**20}
        if self._device == "cuda":
            found["cuda"] = torch.cuda.max_memory_allocated() / 2**20
        return found

    def prepare(self) -> float:
        """Read, filter and split the data set again."""
        self._prepared = self._built = None
        self._iterator = iter(())
        gc.collect()
        config = self._bridge.make_config(self._config, self._gpu)

        def work() -> None:
            self._prepared = self._bridge.prepare(config, self._engine)

        return self._timed(work)

    def build(self) -> dict[str, Any]:
        """Build loaders, model and trainer; returns their sizes."""
        self._built = self._build({})
        trainer, train = self._built.trainer, self._built.train
        trainer.eval_collector.data_collect(train)
        model, dataset = trainer.model, self._prepared.dataset
        return {
            "users": int(dataset.user_num) - 1,
            "items": int(dataset.item_num) - 1,
            "train_samples": len(self._prepared.splits[0]),
            "steps_per_epoch": len(train),
            "sizes": ModelSizes(
                hidden=int(model.hidden_size),
                inner=int(model.inner_size),
                heads=int(model.n_heads),
                layers=int(model.n_layers),
                inputs=1 + int(model.num_feature_field),
                items=int(model.n_items),
            ),
        }

    def step(self) -> dict[str, float]:
        """Draw the next full batch (`load`) and train on it (`step`)."""
        load, batch = self._next_batch()
        step = self._timed(lambda: self._built.trainer._train_epoch([batch], 0))
        self._last = batch
        return {"load": load, "step": step}

    def batch(self) -> BatchShape:
        """Return the last step's batch shape; only for the stock engine, whose samples hold histories."""
        return self._shape(self._last)

    def validation_batch(self) -> BatchShape:
        """Return the shape of all samples of a validation; only for the stock engine."""
        return self._shape(self._built.valid._dataset.inter_feat)

    def _shape(self, samples: Any) -> BatchShape:
        model = self._built.trainer.model
        histories, lengths = samples[model.ITEM_SEQ], samples[model.ITEM_SEQ_LEN]
        distinct = torch.unique(histories)
        return BatchShape(tuple(lengths.tolist()), int((distinct != 0).sum()))

    def validate(self) -> float:
        """Run one validation."""
        return self._timed(lambda: self._built.trainer.evaluate(self._built.valid, load_best_model=False))

    def start_epoch(self) -> None:
        """Begin an epoch, whose steps `epoch_step` takes."""
        self._iterator = iter(self._built.train)

    def epoch_step(self) -> float | None:
        """Draw the epoch's next batch, of any size, and train on it; returns None at the end."""
        trainer, iterator = self._built.trainer, self._iterator
        drawn: list[Any] = []

        def work() -> None:
            drawn.extend(itertools.islice(iterator, 1))
            if drawn:
                trainer._train_epoch(drawn, 0)

        seconds = self._timed(work)
        return seconds if drawn else None

    def agreement(self, steps: int, gradients: Path) -> dict[str, Any]:
        """Return the first training losses without dropout, and the gradients of the first batch.

        The stock engine writes its gradients to the file `gradients`; the fast one compares its own with
        them (`differences`: the largest absolute one of each parameter). `batches` are hashes.

        Raises:
            RuntimeError: The engines' models have different parameters.
        """
        self._built, self._iterator = None, iter(())
        gc.collect()
        built = self._build({"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0})
        iterator = iter(built.train)
        batches = [next(iterator) for _ in range(min(steps, len(built.train)))]
        found = self._gradients(built.trainer.model, batches[0])
        differences: dict[str, float] = {}
        if gradients.exists():
            theirs = torch.load(gradients, weights_only=True)
            if theirs.keys() != found.keys():
                raise RuntimeError(f"parameters differ: {sorted(theirs.keys() ^ found.keys())}")
            differences = {name: float((found[name] - theirs[name]).abs().max()) for name in found}
        else:
            torch.save(found, gradients)
        return {
            "losses": [float(built.trainer._train_epoch([batch], 0)) for batch in batches],
            "batches": [_hash(built.trainer.model, batch) for batch in batches],
            "differences": differences,
            "largest_gradient": max(float(gradient.abs().max()) for gradient in found.values()),
        }

    def _gradients(self, model: Any, batch: Any) -> dict[str, torch.Tensor]:
        model.train()
        if hasattr(model, "backward_loss"):
            model.backward_loss(batch)
        else:
            model.calculate_loss(batch.to(self._device)).backward()
        # A parameter that does not affect the loss has no gradient in one engine and a zero in the other.
        found = {
            name: (torch.zeros_like(p) if p.grad is None else p.grad).detach().cpu().clone()
            for name, p in model.named_parameters()
        }
        model.zero_grad()
        return found

    def _build(self, changes: dict[str, Any]) -> Any:
        config = self._bridge.make_config(self._config | changes, self._gpu)
        return self._bridge.build(config, self._prepared, self._engine)

    def _next_batch(self) -> tuple[float, Any]:
        train = self._built.train
        full = int(self._config["train_batch_size"])
        while True:
            started = time.perf_counter()
            batch = next(self._iterator, None)
            load = time.perf_counter() - started
            if batch is None:
                self._iterator = iter(train)
            elif len(batch) == full or len(train) == 1:
                return load, batch

    def _timed(self, work: Callable[[], object]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


def _hash(model: Any, batch: Any) -> str:
    digest = hashlib.sha256()
    for field in (model.USER_ID, model.POS_ITEM_ID, model.ITEM_SEQ_LEN):
        digest.update(batch[field].numpy(force=True).tobytes())
    return digest.hexdigest()[:16]
