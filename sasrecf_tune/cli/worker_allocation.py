"""How many workers and threads a run has: the user's choice and this machine, before a worker starts."""

from __future__ import annotations

import contextlib

from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.allocation import (
    WORKER_MEMORY,
    Allocation,
    Wishes,
    allocate,
    allocate_gpus,
)
from sasrecf_tune.inputs.dataset_files import DatasetFiles, locate
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.machine import Machine, cores, cpu_quota, examine_machine, has_gpu, threads_setting
from sasrecf_tune.messages import Config
from sasrecf_tune.search.plan import count_trials, largest_value

# Of the files' bytes, while RecBole filters them and in the arrays that it makes.
_COPIES = 4
# Of a score for each item and sample: the scores, their softmax and its gradient, of 4 bytes each.
_SCORE_BYTES = 12


def allocate_workers(settings: RunSettings, space: SearchSpace, base: Config, trials: int = 0) -> Allocation:
    """Decide how many workers a run has; unless the user did, this watches the machine for half a second.

    Args:
        trials: How many trials to train; 0 for those of a search, and those of its confirmation.

    Raises:
        InputError: The space cannot be searched.
    """
    if settings.executor == "ray":
        return Allocation(settings.workers or 1, settings.threads or 1)
    search = settings.search
    if not trials:
        trials = count_trials(settings, space, base).trials
        trials = max(trials, min(trials, search.confirm) * search.confirm_seeds)
    wishes = Wishes(settings.workers, settings.threads, threads_setting())
    decided = wishes.workers and (wishes.threads or wishes.environment)
    machine = Machine(cores(), quota=cpu_quota()) if decided else examine_machine()
    if any(settings.gpus) or (not settings.gpus and has_gpu()):
        workers = settings.workers or max(1, len(settings.gpus)) * settings.trials_per_gpu
        return allocate_gpus(machine, trials, workers, wishes)
    together = max(1, settings.fuse)  # trials of one worker
    return allocate(
        machine, -(-trials // together), wishes, worker_memory(settings.dataset, space, base, together)
    )


def worker_memory(dataset: str, space: SearchSpace, base: Config, together: int = 1) -> int:
    """Estimate the bytes that a worker needs which trains `together` trials as one model."""
    with contextlib.suppress(TuneError, OSError, ValueError, TypeError):
        data_path, parts = base.get("data_path"), base.get("benchmark_filename")
        files = locate(dataset, data_path and str(data_path), parts)
        read = sum(file.stat().st_size for file in files.files() if file.suffix in (".inter", ".item"))
        samples = largest_value(space, "train_batch_size", int(base.get("train_batch_size", 2048)))
        scores = 0 if base.get("loss_type") == "BPR" else samples * _item_count(files) * _SCORE_BYTES
        return WORKER_MEMORY + _COPIES * read + together * scores
    return WORKER_MEMORY


def _item_count(files: DatasetFiles) -> int:
    """Return the lines of the file of items; 0 if there is none."""
    file = files.file("item")
    if not file.is_file():
        return 0
    with file.open("rb") as lines:
        return sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))
