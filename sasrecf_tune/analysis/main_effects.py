"""Main effects: how the score depends on each parameter, adjusted for the other parameters.

Uses completed trials only, since pruned trials were trained for fewer epochs. A least-squares fit of the
score on the levels of the parameter, and of as many other parameters as there are trials for, gives the
difference between two values and its standard error. In a full grid this is the difference of the means, with
the effects of the other parameters removed from the error; in other searches it also corrects for values that
were tried together. Interactions between parameters count as error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.analysis.binning import Binned, binned
from sasrecf_tune.trials import ENDED, State, TrialRecord

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# With fewer degrees of freedom the error is not estimated.
_LEAST_FREEDOM = 3
# Standard deviation of rounding: RecBole rounds scores to four decimals.
_ROUNDING = 1e-4 / math.sqrt(12)


@dataclass(frozen=True)
class Level:
    """One value, or range of values, of a parameter.

    Args:
        ended: How many trials with it have ended, and below how many are complete and pruned.
        mean: Mean score of its completed trials.
        best: Best score of its completed trials.
        behind: By how much it is worse than the best value, which has 0; None if that cannot be estimated.
        margin: Half of the 95% interval of `behind`.
    """

    label: str
    ended: int
    completed: int
    pruned: int
    mean: float | None
    best: float | None
    behind: float | None = None
    margin: float = 0.0

    @property
    def is_worse(self) -> bool:
        """Whether it is significantly worse than the best value."""
        return self.behind is not None and self.behind > self.margin


@dataclass(frozen=True)
class MainEffect:
    """The values of a parameter, the best first, and the other parameters in the fit."""

    name: str
    levels: tuple[Level, ...]
    trials: int
    adjusted_for: tuple[str, ...] = ()

    @property
    def noise(self) -> float:
        """The widest margin of its levels."""
        return max(level.margin for level in self.levels)

    @property
    def sentence(self) -> str:
        """Such as "2 beats 1 by 0.0040 ± 0.0010; 3 cannot be told from 2"."""
        first, *others = self.levels
        worse = [level for level in others if level.is_worse]
        close = [level.label for level in others if level.behind is not None and not level.is_worse]
        unknown = [level for level in others if level.behind is None]
        parts = []
        if worse:
            differences = ", ".join(f"{o.label} by {o.behind:.4f} ± {o.margin:.4f}" for o in worse)
            parts.append(f"{first.label} beats {differences}")
        if close and not worse:
            words = _joined([first.label, *close], "and")
            parts.append(f"{words} cannot be told apart (differences within ± {self.noise:.4f} are noise)")
        elif close:
            parts.append(f"{_joined(close, 'and')} cannot be told from {first.label}")
        if len(unknown) == len(others):
            return "too few completed trials to compare"
        never = [level.label for level in unknown if not level.completed]
        if never:
            parts.append(f"no trial completed with {_joined(never, 'or')}")
        return "; ".join(parts)


def main_effects(records: Sequence[TrialRecord], names: Sequence[str], maximize: bool) -> list[MainEffect]:
    """Estimate the effect of each parameter of `names` with more than one value among ended trials."""
    ended = [record for record in records if record.state in ENDED and record.params]
    scored = [
        r for r in ended if r.state == State.COMPLETE and r.score is not None and math.isfinite(r.score)
    ]
    if not scored:
        return []
    parameters = [binned(name, ended) for name in names]
    parameters = [parameter for parameter in parameters if len(parameter.labels) > 1]
    scores = np.array([record.score for record in scored], dtype=float)
    designs = {parameter.name: _design(parameter, scored) for parameter in parameters}
    # The fit adds other parameters in the order of the variance that each explains on its own.
    strength = {name: _explained(design, scores) for name, design in designs.items()}
    order = sorted(designs, key=lambda name: -strength[name])
    sign = 1 if maximize else -1
    return [_main_effect(parameter, ended, scored, scores, designs, order, sign) for parameter in parameters]


def _main_effect(
    parameter: Binned,
    ended: Sequence[TrialRecord],
    scored: Sequence[TrialRecord],
    scores: Floats,
    designs: dict[str, Floats],
    order: Sequence[str],
    sign: int,
) -> MainEffect:
    own = designs[parameter.name]
    adjusted_for: list[str] = []
    matrix = own
    for name in order:
        wider = np.hstack([matrix, designs[name][:, 1:]])
        # At least half of the trials are left to estimate the error.
        if name != parameter.name and len(scores) - np.linalg.matrix_rank(wider) >= len(scores) / 2:
            matrix = wider
            adjusted_for.append(name)
    effects, freedom = _effects(matrix, own.shape[1], scores, sign)
    level_of = parameter.level_of
    levels = []
    for index, label in enumerate(parameter.labels):
        trials = [record for record in ended if level_of.get(record.number) == index]
        reached = [r.score for r in scored if r.score is not None and level_of.get(r.number) == index]
        behind, margin = effects[index] if freedom >= _LEAST_FREEDOM else (None, 0.0)
        levels.append(
            Level(
                label,
                len(trials),
                len(reached),
                sum(record.state == State.PRUNED for record in trials),
                float(np.mean(reached)) if reached else None,
                (max(reached) if sign > 0 else min(reached)) if reached else None,
                behind,
                margin,
            )
        )
    levels.sort(key=lambda level: _order(level, sign))
    return MainEffect(parameter.name, tuple(levels), len(scored), tuple(adjusted_for))


def _effects(
    matrix: Floats, count: int, scores: Floats, sign: int
) -> tuple[list[tuple[float | None, float]], int]:
    """Return (distance behind the best level, margin) of each level, and the degrees of freedom.

    Args:
        matrix: Design matrix [trials, columns]; its first `count` columns are the levels.

    Returns:
        The distance is None if the trials do not determine it.
    """
    nothing: list[tuple[float | None, float]] = [(None, 0.0)] * count
    used = [column for column in range(count) if matrix[:, column].any()]
    if len(used) < 2:
        return nothing, 0
    inverse = np.linalg.pinv(matrix.T @ matrix)
    rank = int(np.linalg.matrix_rank(matrix))
    freedom = len(scores) - rank
    if freedom < 1:
        return nothing, freedom
    coefficients = inverse @ matrix.T @ scores
    residual = float(np.sum((scores - matrix @ coefficients) ** 2)) / freedom
    variance = max(residual, _ROUNDING**2)
    best = max(used, key=lambda column: sign * coefficients[column])
    projection = inverse @ (matrix.T @ matrix)
    # The best level was chosen by its score, so the margin is corrected for all pairs (Bonferroni).
    pairs = len(used) * (len(used) - 1) / 2
    quantile = _student(1 - (1 - CONFIDENCE) / 2 / pairs, freedom)
    effects = list(nothing)
    for column in used:
        contrast = np.zeros(matrix.shape[1])
        contrast[best] += 1
        contrast[column] -= 1
        if np.allclose(contrast @ projection, contrast, atol=1e-6):
            error = math.sqrt(max(0.0, variance * float(contrast @ inverse @ contrast)))
            effects[column] = (sign * float(contrast @ coefficients), quantile * error)
    return effects, freedom


def _design(parameter: Binned, scored: Sequence[TrialRecord]) -> Floats:
    """Return the matrix [trials, levels] that is 1 where a trial has the level."""
    design = np.zeros((len(scored), len(parameter.labels)))
    for row, record in enumerate(scored):
        design[row, parameter.level_of[record.number]] = 1.0
    return design


def _explained(design: Floats, scores: Floats) -> float:
    """Return the share of the variance of the scores that lies between the means of the levels."""
    if not len(scores) or float(np.var(scores)) == 0.0:
        return 0.0
    counts = design.sum(axis=0)
    means = (design.T @ scores)[counts > 0] / counts[counts > 0]
    return float(np.average((means - scores.mean()) ** 2, weights=counts[counts > 0]) / np.var(scores))


def _order(level: Level, sign: int) -> tuple[int, float]:
    if level.behind is not None:
        return 0, level.behind
    return (1, -sign * level.mean) if level.mean is not None else (2, 0.0)


def _student(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(freedom, probability))


def _joined(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
