"""Plays a search policy on given curves, without a study."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from sasrecf_tune.inputs.constraints import feasible_cells, resolve, violations
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import UNTIL
from sasrecf_tune.search.policy import Curve, CurveState, Finish, Labels, SearchPolicy, Step
from sasrecf_tune.search.strategies.candidate_pool import CandidatePool
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.horizon import Horizon
from sasrecf_tune.search.strategies.paused_search import PausedSearch

# The scores of a configuration after each epoch, as long as it trains; None: it fails at once.
Train = Callable[[Mapping[str, Scalar]], Sequence[float] | None]


def make_policy(
    text: str,
    epochs: int = 20,
    *,
    eval_step: int = 1,
    patience: int | None = None,
    seed: int = 1,
    maximize: bool = True,
    until: float | None = UNTIL,
    trials: int | None = None,
) -> PausedSearch:
    """A policy for the space of a params file, which begins with its first configuration."""
    space = parse(text)

    def feasible(labels: Labels) -> bool:
        return not violations(resolve(space.decode(labels)))

    @cache
    def cells() -> list[Labels]:
        return [space.encode(cell) for cell in feasible_cells(space, {})]

    finite = cells if space.size is not None else None
    candidates = Candidates(distributions(space), feasible, finite)
    pool = CandidatePool(space, candidates, finite, seed)
    start = cells()[0] if finite else pool.untried((), [])[0].labels
    horizon = Horizon(space, epochs, eval_step, patience)
    return PausedSearch(pool, start, horizon, maximize, until, trials)


@dataclass
class Played:
    """A search that was played: its trials, the steps that the policy gave, and how it ended."""

    curves: list[Curve] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    epochs: int = 0
    finish: Finish | None = None


def play(
    policy: Callable[[], SearchPolicy],
    train: Train,
    *,
    workers: int = 1,
    eval_step: int = 1,
    max_steps: int = 400,
) -> Played:
    """Play searches until the policy finishes; `policy` is called for each decision, or once if cached.

    Every answer is checked: no busy trial is named, none goes backwards, no configuration begins twice.
    """
    played, heap, now = Played(), [(0.0, 0, 0)][:0], 0.0
    asked: int | None = None
    while len(played.steps) < max_steps:
        while len(heap) < workers:
            answer = policy().next_step(played.curves)
            named = answer.number if isinstance(answer, Step) else None
            if asked is not None and named != asked:
                curve = played.curves[asked]
                if curve.state is CurveState.RUNNING:
                    done = max(curve.scores)
                    played.curves[asked] = replace(curve, state=CurveState.PAUSED, checkpoint=done, until=0)
            if isinstance(answer, Finish):
                played.finish = answer
                break
            played.steps.append(answer)
            number = _begin(played, answer, asked)
            asked = None
            until = min(answer.until, len(train(answer.labels) or "1"))
            heapq.heappush(heap, (now + until - max(played.curves[number].scores, default=0), number, until))
        if not heap:
            break
        now, number, until = heapq.heappop(heap)
        played.finish = None
        curve, scores = played.curves[number], train(played.curves[number].labels)
        if scores is None:
            played.curves[number] = replace(curve, state=CurveState.FAILED)
            continue
        played.epochs += until - max(curve.scores, default=0)
        seen = {epoch: scores[epoch - 1] for epoch in range(eval_step, until + 1, eval_step)}
        state = CurveState.ENDED if until == len(scores) else CurveState.RUNNING
        played.curves[number] = replace(curve, scores=seen, state=state)
        asked = number if state is CurveState.RUNNING else None
    return played


def _begin(played: Played, step: Step, asked: int | None) -> int:
    """Mark the trial of a step as running; returns its number."""
    if step.number is None:
        assert all(curve.labels != step.labels for curve in played.curves), "a configuration begins twice"
        number = len(played.curves)
        played.curves.append(Curve(number, step.labels, {}, CurveState.RUNNING, until=step.until))
        return number
    curve = played.curves[step.number]
    assert curve.labels == step.labels
    assert curve.state is CurveState.PAUSED or step.number == asked, "a trial is named that cannot go on"
    assert step.until > max(curve.scores, default=0)
    played.curves[step.number] = replace(curve, state=CurveState.RUNNING, until=step.until, checkpoint=0)
    return step.number
