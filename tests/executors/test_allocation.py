"""How many workers and threads a run has."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.executors.allocation import (
    Wishes,
    allocate,
    allocate_gpus,
    allowed_cores,
    usable_cores,
)
from sasrecf_tune.machine import Machine

GIB = 1 << 30


def share(threads: int, have: float, busy: float) -> float:
    """The cores' worth of time of `threads` beside others: each program has the same share."""
    return min(threads, have * threads / (threads + busy))


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    cores = draw(st.integers(1, 128))
    busy = draw(st.floats(0, cores))
    quota = draw(st.none() | st.floats(0.1, 64))
    used = 0.0 if quota is None else draw(st.floats(0, quota))
    return Machine(cores, busy, quota, used, draw(st.integers(0, 256 * GIB)))


@given(machines(), st.integers(0, 10_000), st.integers(GIB // 2, 64 * GIB))
def test_the_default_uses_what_is_there_and_no_more(machine: Machine, trials: int, each: int) -> None:
    found = allocate(machine, trials, worker_memory=each)
    assert 1 <= found.workers <= max(1, trials) and found.threads >= 1
    assert found.workers == 1 or found.workers * each <= machine.memory
    assert found.workers * found.threads <= machine.cores
    if machine.quota is not None:
        assert found.workers * found.threads <= math.ceil(machine.quota)
    if found.threads > 1:
        assert found.workers in (trials, max(1, machine.memory // each), 1)
        assert found.workers * found.threads <= machine.cores - machine.busy + 1
    assert not found.notes and str(found)


@given(machines())
def test_no_number_of_workers_gets_much_more_of_the_machine(machine: Machine) -> None:
    def got(workers: int) -> float:
        found = share(workers, machine.cores, machine.busy)
        if machine.quota is None:
            return found
        return min(found, share(workers, machine.quota, machine.quota_used))

    ours = got(usable_cores(machine))
    assert ours >= 0.89 * max(got(workers) for workers in range(1, allowed_cores(machine) + 1))


@pytest.mark.parametrize(
    ("machine", "trials", "wishes", "text"),
    [
        (Machine(2), 100, Wishes(), "2 workers of 1 thread: 2 cores"),
        (Machine(64, 0.2), 100, Wishes(), "64 workers of 1 thread: 64 cores"),
        # Beside one program two workers get two thirds of two cores, one gets half.
        (Machine(2, 1.0), 100, Wishes(), "2 workers of 1 thread: 2 cores, 1 busy"),
        (Machine(4, 1.0), 100, Wishes(), "3 workers of 1 thread: 4 cores, 1 busy"),
        (Machine(64, 8.0), 100, Wishes(), "56 workers of 1 thread: 64 cores, 8 busy"),
        (Machine(64, 40.0, 2.0), 100, Wishes(), "2 workers of 1 thread: 64 cores, 40 busy, limited to 2"),
        (Machine(8, 0, 0.5), 100, Wishes(), "1 worker of 1 thread: 8 cores, limited to 0.5"),
        (
            Machine(8, 1.0, 4.0, 1.0),
            100,
            Wishes(),
            "3 workers of 1 thread: 8 cores, 1 busy, limited to 4 of which 1 in use",
        ),
        (Machine(2), 1, Wishes(), "1 worker of 2 threads: 1 trial, 2 cores"),
        (Machine(2, 1.0), 1, Wishes(), "1 worker of 1 thread: 1 trial, 2 cores, 1 busy"),
        (Machine(8), 3, Wishes(), "3 workers of 2 threads: 3 trials, 8 cores"),
        (Machine(8, memory=2 * GIB), 100, Wishes(), "2 workers of 4 threads: memory for 2, 8 cores"),
        (Machine(8), 100, Wishes(workers=2), "2 workers of 4 threads: as set, 8 cores"),
        (Machine(8), 1, Wishes(workers=2), "2 workers of 8 threads: as set, 8 cores"),
        (Machine(8), 100, Wishes(threads=4), "2 workers of 4 threads: 8 cores"),
        (Machine(8), 100, Wishes(2, 2), "2 workers of 2 threads: as set, 8 cores"),
        (Machine(8), 100, Wishes(environment=8), "1 worker of 8 threads: OMP_NUM_THREADS=8, 8 cores"),
        (Machine(8), 100, Wishes(threads=1, environment=8), "8 workers of 1 thread: 8 cores"),
        (Machine(1), 100, Wishes(), "1 worker of 1 thread: 1 core"),
    ],
)
def test_the_plan_says_why(machine: Machine, trials: int, wishes: Wishes, text: str) -> None:
    assert str(allocate(machine, trials, wishes)) == text


def test_more_workers_or_threads_than_cores_are_noted() -> None:
    def note(machine: Machine, trials: int = 100, **wishes: int) -> str:
        return "".join(allocate(machine, trials, Wishes(**wishes)).notes)

    few = "4 workers of 1 thread on 2 cores: more workers than cores are no faster"
    assert note(Machine(2), workers=4) == note(Machine(16, quota=2.0), workers=4) == few
    assert note(Machine(2), threads=4) == (
        "1 worker of 4 threads on 2 cores: more threads than cores are no faster"
    )
    assert not note(Machine(2), workers=2) and not note(Machine(2), trials=2, workers=4)


def test_workers_on_gpus_share_the_cores() -> None:
    def threads(workers: int, **wishes: int) -> int:
        found = allocate_gpus(Machine(16, 4.0), 100, workers, Wishes(**wishes))
        assert found.gpu and found.workers == workers
        return found.threads

    assert [threads(workers) for workers in (1, 2, 4, 64)] == [12, 6, 3, 1]
    assert threads(2, threads=4) == threads(2, environment=4) == 4
