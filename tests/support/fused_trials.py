"""Trains trials in one worker, fused or alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from sasrecf_tune.executors.pausable import PausableThread
from sasrecf_tune.messages import Decision, Failure, Job, Report, Result
from sasrecf_tune.training.runner import Runner

Decide = Callable[[Report], Decision]
T = TypeVar("T", Report, Result)


def always_continue(_: Report) -> Decision:
    return Decision.CONTINUE


def together(
    runner: Runner, jobs: list[Job], decide: Decide = always_continue
) -> dict[int, Result | Failure]:
    """Do what a worker does with the jobs, but without its pipe."""
    threads = {job.number: PausableThread(lambda job=job: runner.train(job, decide)) for job in jobs}  # type: ignore[misc]
    paused = {number: thread.advance() for number, thread in threads.items()}
    while running := [number for number, thread in threads.items() if not thread.finished]:
        answers = runner.train_epochs([paused[number] for number in running])
        for number, answer in zip(running, answers, strict=True):
            paused[number] = None
            paused[number] = threads[number].advance(answer)
    return {number: thread.result for number, thread in threads.items()}


def alone(jobs: list[Job], decide: Decide = always_continue) -> dict[int, Result | Failure]:
    return {job.number: Runner("").train(job, decide) for job in jobs}


def untimed(message: T) -> T:
    """The message with its times set to 0."""
    return replace(message, seconds=0.0, training_seconds=0.0)


def check_same(ours: Result | Failure, theirs: Result | Failure) -> None:
    if isinstance(ours, Failure) or isinstance(theirs, Failure):
        assert replace(ours, seconds=0) == replace(theirs, seconds=0)
        return
    assert (ours.decision, ours.epochs, ours.best_epoch) == (
        theirs.decision,
        theirs.epochs,
        theirs.best_epoch,
    )
    assert ours.curve == {key: pytest.approx(curve, abs=1.01e-4) for key, curve in theirs.curve.items()}
    assert ours.test == pytest.approx(theirs.test, abs=1.01e-4)
