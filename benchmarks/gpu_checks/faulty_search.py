"""The command line of sasrecf-tune with workers in which certain trials meet an error of the GPU, once.

    python -m benchmarks.gpu_checks.faulty_search run ...

The environment variable `FAULTS` has JSON: a directory for notes, and a learning rate for each kind of fault.
"""

from __future__ import annotations

import functools
import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.messages import Waiting

FAULTS = "SASRECF_TUNE_CHECKS_FAULTS"


def start_runner(
    gpu: str | None, shared: Path | None = None, on_waiting: Callable[[Waiting], None] = lambda _: None
) -> Any:
    """Create the Runner of a worker in which trials meet the faults in their second epoch."""
    from sasrecf_tune.engine.fast.trainer import FastTrainer
    from sasrecf_tune.engine.fused.trainer import FusedTrainer
    from sasrecf_tune.training import runner

    faults = json.loads(os.environ[FAULTS])
    notes = Path(faults.pop("notes"))
    (notes / f"worker-{os.getpid()}").touch()
    alone, fused = FastTrainer._train_epoch, FusedTrainer.train_epoch

    def meet(trainers: Sequence[Any]) -> None:
        for kind, rate in faults.items():
            note = notes / kind
            for trainer in trainers:
                if (
                    math.isclose(trainer.config["learning_rate"], rate)
                    and trainer.train_loss_dict
                    and not note.exists()
                ):
                    note.touch()
                    _FAULTS[kind](trainer.device)

    def train_alone(trainer: Any, *arguments: Any, **options: Any) -> float:
        meet([trainer])
        return alone(trainer, *arguments, **options)

    def train_fused(trainer: FusedTrainer) -> list[float]:
        meet([trial.trainer for trial in trainer.trials])
        return fused(trainer)

    FastTrainer._train_epoch = train_alone  # type: ignore[method-assign, assignment]
    FusedTrainer.train_epoch = train_fused  # type: ignore[method-assign, assignment]
    return runner.start_runner(gpu, shared, on_waiting)


def _break_context(device: Any) -> None:
    """Fail a kernel's assertion: no later call of this process can use the GPU."""
    import torch

    if device.type == "cuda":
        # Not waited for: what comes next meets the error.
        torch.ones(4, device=device)[torch.tensor([9], device=device)]
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _ask_for_too_much(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device=device)
    raise torch.cuda.OutOfMemoryError("CUDA out of memory: a stand-in")


_FAULTS: dict[str, Callable[[Any], None]] = {"assert": _break_context, "memory": _ask_for_too_much}


def main() -> None:
    """Start the command line."""
    from sasrecf_tune.cli import app, session
    from sasrecf_tune.executors.local import LocalExecutor

    session.LocalExecutor = functools.partial(  # type: ignore[attr-defined, assignment]
        LocalExecutor, runner="benchmarks.gpu_checks.faulty_search:start_runner"
    )
    app.main()


if __name__ == "__main__":
    main()
