"""What the values of each parameter do to the score, the others allowed for.

Completed trials only, since a pruned trial's score is of fewer epochs. A least-squares fit of the score on
the parameter's levels, and on those of the other parameters as far as the trials reach, gives the difference
between two values and its standard error: in a whole grid the difference of their means, with the other
parameters' part taken out of the error; in any other search allowing for which values were tried together.
What two parameters do only together counts as error.
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
# Fewer trials beyond what the fit takes up say nothing about the error.
_LEAST_FREEDOM = 3
# The error of a score that RecBole rounds to four decimals.
_ROUNDING = 1e-4 / math.sqrt(12)


@dataclass(frozen=True)
class Level:
    """One value: how many trials had it, and what the completed ones reached.

    `behind` is by how much it is worse than the best value, plus or minus `margin`; None where that cannot be
    said. The best value's own `behind` is 0.
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
    def beaten(self) -> bool:
        """Whether it is worse beyond what chance explains."""
        return self.behind is not None and self.behind > self.margin


@dataclass(frozen=True)
class MainEffect:
    """A parameter's values, the best first, and the parameters that were allowed for."""

    name: str
    levels: tuple[Level, ...]
    trials: int
    beside: tuple[str, ...] = ()

    @property
    def noise(self) -> float:
        """The widest margin of a difference to the best value."""
        return max(level.margin for level in self.levels)

    @property
    def sentence(self) -> str:
        """Such as "2 beats 1 by 0.0040 ± 0.0010; not to be told from 3"."""
        first, *others = self.levels
        beaten = [level for level in others if level.beaten]
        close = [level.label for level in others if level.behind is not None and not level.beaten]
        unknown = [level for level in others if level.behind is None]
        parts = []
        if beaten:
            differences = ", ".join(f"{o.label} by {o.behind:.4f} ± {o.margin:.4f}" for o in beaten)
            parts.append(f"{first.label} beats {differences}")
        if close and not beaten:
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
    """Of each parameter of `names` that at least two completed trials differ in, or that ended trials do."""
    ended = [record for record in records if record.state in ENDED and record.params]
    scored = [
        r for r in ended if r.state == State.COMPLETE and r.score is not None and math.isfinite(r.score)
    ]
    if not scored:
        return []
    found = [binned(name, ended) for name in names]
    found = [one for one in found if len(one.labels) > 1]
    scores = np.array([record.score for record in scored], dtype=float)
    designs = {one.name: _design(one, scored) for one in found}
    # The others are allowed for in the order of what they explain alone.
    strength = {name: _explained(design, scores) for name, design in designs.items()}
    order = sorted(designs, key=lambda name: -strength[name])
    return [_marginal(one, ended, scored, scores, designs, order, 1 if maximize else -1) for one in found]


def _marginal(
    parameter: Binned,
    ended: Sequence[TrialRecord],
    scored: Sequence[TrialRecord],
    scores: Floats,
    designs: dict[str, Floats],
    order: Sequence[str],
    sign: int,
) -> MainEffect:
    own = designs[parameter.name]
    beside: list[str] = []
    matrix = own
    for name in order:
        wider = np.hstack([matrix, designs[name][:, 1:]])
        # Half of the trials at least are left for the error.
        if name != parameter.name and len(scores) - np.linalg.matrix_rank(wider) >= len(scores) / 2:
            matrix = wider
            beside.append(name)
    effects, freedom = _effects(matrix, own.shape[1], scores, sign)
    level_of = parameter.level_of
    made = []
    for index, label in enumerate(parameter.labels):
        trials = [record for record in ended if level_of.get(record.number) == index]
        reached = [float(record.score) for record in scored if level_of.get(record.number) == index]  # type: ignore[arg-type]
        behind, margin = effects[index] if freedom >= _LEAST_FREEDOM else (None, 0.0)
        made.append(
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
    made.sort(key=lambda level: _order(level, sign))
    return MainEffect(parameter.name, tuple(made), len(scored), tuple(beside))


def _effects(
    matrix: Floats, count: int, scores: Floats, sign: int
) -> tuple[list[tuple[float | None, float]], int]:
    """(how far behind the best level, margin) of each of `count` levels, and the degrees of freedom.

    `matrix`'s first `count` columns are 1 where a trial has the level. A difference that the trials do not
    settle is None.
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
    # The best of k was chosen after looking: all pairs are allowed for (Bonferroni).
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
    """[trials, levels]: 1 where the trial has the level."""
    design = np.zeros((len(scored), len(parameter.labels)))
    for row, record in enumerate(scored):
        design[row, parameter.level_of[record.number]] = 1.0
    return design


def _explained(design: Floats, scores: Floats) -> float:
    """The share of the scores' variance that lies between the levels' means."""
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
