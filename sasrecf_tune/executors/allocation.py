"""Decides how many workers a run has on this machine, with how many threads each, before any worker starts.

Beside other programs a single thread loses no more than its share. Threads of one worker wait for each other
hundreds of times a step: when another program takes the core of one, all of them wait. Workers of one thread
each also do more than one worker of as many threads. So a worker has one thread, unless there are fewer
workers than cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sasrecf_tune.machine import Machine

# Beside other programs each further worker gains less. The fewest that get this part of what a worker on each
# core would get are enough.
_ENOUGH = 0.9
# Bytes that RecBole and torch take, with a small data set.
WORKER_MEMORY = 3 << 28
# A use of a core that is not worth a mention, and costs no thread.
_LITTLE = 0.3


@dataclass(frozen=True)
class Allocation:
    """The workers of a run.

    Attributes:
        threads: Threads of each worker; 0 for torch's choice.
        reason: Why there are so many.
        notes: What the user should know.
        gpu: Whether they are to train on GPUs.
        at_once: How many of them train at once on cores of their own; 0 for all of them.
    """

    workers: int = 1
    threads: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()
    gpu: bool = False
    at_once: int = 0

    def __str__(self) -> str:
        threads = f" of {_count(self.threads, 'thread')}" if self.threads else ""
        return f"{_count(self.workers, 'worker')}{threads}{': ' * bool(self.reason)}{self.reason}"


@dataclass(frozen=True)
class Wishes:
    """What the user chose; None for what is to be decided.

    Attributes:
        environment: The number of threads that OMP_NUM_THREADS asks for.
    """

    workers: int | None = None
    threads: int | None = None
    environment: int | None = None


def allocate(
    machine: Machine, trials: int, wishes: Wishes | None = None, worker_memory: int = WORKER_MEMORY
) -> Allocation:
    """Decide how many workers train on the CPU.

    Args:
        machine: What is to be had.
        trials: How many trials there are to train; more workers would have nothing to do.
        wishes: What the user chose.
        worker_memory: Bytes that a worker needs, as far as they are known.
    """
    wishes, trials = wishes or Wishes(), max(1, trials)
    threads = wishes.threads or wishes.environment
    by_cores = max(1, usable_cores(machine) // (threads or 1))
    by_memory = max(1, machine.memory // worker_memory)
    workers = wishes.workers or min(by_cores, by_memory, trials)
    reasons = [] if wishes.workers is None or wishes.workers == by_cores else ["as set"]
    if wishes.workers is None and workers < by_cores:
        reasons = [f"memory for {by_memory}" if by_memory < trials else _count(trials, "trial")]
    return _allocation(machine, workers, min(workers, trials), wishes, reasons)


def allocate_gpus(machine: Machine, trials: int, workers: int, wishes: Wishes | None = None) -> Allocation:
    """Decide how many threads each of the `workers` has whose models are on GPUs."""
    found = _allocation(machine, workers, min(workers, max(1, trials)), wishes or Wishes(), [])
    return replace(found, gpu=True, at_once=0)


def usable_cores(machine: Machine) -> int:
    """Return how many single threads are worth running beside what else uses the machine."""

    def gain(count: int) -> float:
        got = _share(count, machine.cores, machine.busy)
        return got if machine.quota is None else min(got, _share(count, machine.quota, machine.quota_used))

    most = allowed_cores(machine)
    fewest = next(count for count in range(1, most + 1) if gain(count) >= _ENOUGH * gain(most))
    return max(fewest, idle_cores(machine))


def allowed_cores(machine: Machine) -> int:
    """Return the number of cores, or the quota of them if it is less."""
    return machine.cores if machine.quota is None else min(machine.cores, math.ceil(machine.quota))


def idle_cores(machine: Machine) -> int:
    """Return how many cores nothing else uses, at least 1."""
    idle = machine.cores - machine.busy
    if machine.quota is not None:
        idle = min(idle, machine.quota - machine.quota_used)
    return max(1, math.floor(idle + _LITTLE))


def machine_text(machine: Machine) -> str:
    """Return what a run can use, such as "4 cores, 1 busy"."""
    text = _count(machine.cores, "core")
    if machine.busy >= _LITTLE:
        text += f", {_number(machine.busy)} busy"
    if machine.quota is not None and machine.quota < machine.cores:
        text += f", limited to {_number(machine.quota)}"
        if machine.quota_used >= _LITTLE:
            text += f" of which {_number(machine.quota_used)} in use"
    return text


def _allocation(
    machine: Machine, workers: int, active: int, wishes: Wishes, reasons: list[str]
) -> Allocation:
    """Add the number of threads; `active` workers train at the same time."""
    threads = wishes.threads or wishes.environment or max(1, idle_cores(machine) // active)
    if wishes.threads is None and wishes.environment is not None:
        reasons = [*reasons, f"OMP_NUM_THREADS={wishes.environment}"]
    notes = []
    have = allowed_cores(machine)
    if active * threads > have:
        what = "workers" if active > have else "threads"
        notes.append(
            f"{_count(active, 'worker')} of {_count(threads, 'thread')} on {_count(have, 'core')}: "
            f"more {what} than cores are no faster"
        )
    reason = ", ".join([*reasons, machine_text(machine)])
    return Allocation(workers, threads, reason, tuple(notes), at_once=max(1, min(active, have // threads)))


def _share(count: int, have: float, busy: float) -> float:
    """The cores' worth of time that `count` threads get beside `busy` others: a fair share of all."""
    return float(count) if count + busy <= have else have * count / (count + busy)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
