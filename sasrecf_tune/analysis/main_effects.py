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
from dataclasses import dataclass, replace

import numpy as np

from sasrecf_tune.analysis.binning import Binned, binned
from sasrecf_tune.analysis.contrasts import Contrast, Covariate, Floats, contrasts
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.trials import ENDED, State, TrialRecord

NEVER = "no trial completed"
# Two values are compared if the shares of their trials that were pruned differ by no more than this.
_PRUNED_ALIKE = 0.15
# A scale is logarithmic when the greatest value is at least this many times the least.
_LOG_RATIO = 10


@dataclass(frozen=True)
class Level:
    """One value, or range of values, of a parameter.

    Args:
        ended: How many trials with it have ended, and below how many are complete and pruned.
        mean: Mean score of its completed trials.
        best: Best score of its completed trials.
        behind: By how much it is worse than the best value, which has 0; None if that cannot be estimated.
        margin: Half of the interval of `behind`.
        unknown: Why `behind` is not known.
    """

    label: str
    ended: int
    completed: int
    pruned: int
    mean: float | None
    best: float | None
    behind: float | None = None
    margin: float = 0.0
    unknown: str = ""

    @property
    def pruned_share(self) -> float:
        """The share of its ended trials that were pruned."""
        return self.pruned / self.ended if self.ended else 0.0

    @property
    def is_worse(self) -> bool:
        """Whether it is significantly worse than the best value."""
        return self.behind is not None and self.behind > self.margin

    @property
    def is_alike(self) -> bool:
        """Whether it may differ from the best value by chance."""
        return self.behind is not None and self.margin > 0 and not self.is_worse

    @property
    def at_most(self) -> float:
        """The greatest difference to the best value that the trials allow."""
        return (self.behind or 0.0) + self.margin


@dataclass(frozen=True)
class MainEffect:
    """The values of a parameter, the best first, and the other parameters in the fit."""

    name: str
    levels: tuple[Level, ...]
    trials: int
    adjusted_for: tuple[str, ...] = ()

    @property
    def close(self) -> list[Level]:
        """The values that may differ from the best by chance."""
        return [level for level in self.levels[1:] if level.is_alike]

    @property
    def worse(self) -> list[Level]:
        """The values that are worse than the best."""
        return [level for level in self.levels if level.is_worse]

    @property
    def unknown(self) -> dict[str, list[Level]]:
        """The values that are not compared with the best, by the reason."""
        reasons: dict[str, list[Level]] = {}
        for level in self.levels:
            if level.behind is None:
                reasons.setdefault(level.unknown, []).append(level)
        return reasons

    @property
    def at_most(self) -> float:
        """The greatest difference of the close values to the best that the trials allow."""
        return max((level.at_most for level in self.close), default=0.0)

    def sentence(self, metric: Metric) -> str:
        """Such as "2 beats 1 by 0.0040 ± 0.0010; 3 cannot be told from 2"."""
        best = self.levels[0].label
        parts = []
        if self.worse:
            differences = ", ".join(
                f"{level.label} by {metric.text(level.behind)} ± {metric.bound_text(level.margin)}"
                for level in self.worse
            )
            parts.append(f"{best} beats {differences}")
        if self.close:
            labels = [level.label for level in self.close]
            what = f"{_joined(labels, 'and')} cannot be told from {best}"
            if not self.worse:
                what = f"{_joined([best, *labels], 'and')} cannot be told apart"
            parts.append(f"{what} (the difference is at most {metric.bound_text(self.at_most)})")
        for reason, levels in self.unknown.items():
            labels = [level.label for level in levels]
            which = "" if len(labels) >= len(self.levels) - 1 else f"{_joined(labels, 'and')} "
            parts.append(f"{which}not known: {reason}")
        return "; ".join(parts)


def main_effects(records: Sequence[TrialRecord], names: Sequence[str], metric: Metric) -> list[MainEffect]:
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
    covariates = {parameter.name: _covariate(parameter, scored) for parameter in parameters}
    # The fit adds other parameters in the order of the variance that each explains on its own.
    order = sorted(covariates, key=lambda name: -_explained(covariates[name].levels, scores))
    effects = []
    for parameter in parameters:
        others = {name: covariates[name] for name in order if name != parameter.name}
        own = covariates[parameter.name].levels
        found, adjusted_for = contrasts(own, others, scores, 1 if metric.maximize else -1, metric.unit)
        levels = _levels(parameter, ended, found, metric.maximize)
        effects.append(MainEffect(parameter.name, levels, len(scored), tuple(adjusted_for)))
    return effects


def _levels(
    parameter: Binned, ended: Sequence[TrialRecord], found: Sequence[Contrast], maximize: bool
) -> tuple[Level, ...]:
    levels = []
    for index, (label, contrast) in enumerate(zip(parameter.labels, found, strict=True)):
        trials = [record for record in ended if parameter.level_of.get(record.number) == index]
        complete = [record for record in trials if record.state == State.COMPLETE]
        reached = [r.score for r in complete if r.score is not None and math.isfinite(r.score)]
        levels.append(
            Level(
                label,
                len(trials),
                len(reached),
                sum(record.state == State.PRUNED for record in trials),
                float(np.mean(reached)) if reached else None,
                (max(reached) if maximize else min(reached)) if reached else None,
                contrast.behind,
                contrast.margin,
                contrast.unknown if reached else NEVER,
            )
        )
    levels.sort(key=lambda level: _order(level, maximize))
    return tuple(_compared(level, levels[0]) for level in levels)


def _compared(level: Level, best: Level) -> Level:
    """Withdraw a difference that pruning may have made or hidden.

    Of the trials with a bad value only lucky ones complete, so a value with more pruned trials than another
    is worse than its completed trials look.
    """
    if level.behind is None or level is best:
        return level
    more = level.pruned_share - best.pruned_share
    hidden = more > _PRUNED_ALIKE and not level.is_worse
    made = more < -_PRUNED_ALIKE
    if not hidden and not made:
        return level
    whose = level if hidden else best
    return replace(
        level,
        behind=None,
        margin=0.0,
        unknown=f"{whose.pruned} of {whose.ended} trials with {whose.label} were pruned",
    )


def _covariate(parameter: Binned, scored: Sequence[TrialRecord]) -> Covariate:
    levels = np.zeros((len(scored), len(parameter.labels)))
    for row, record in enumerate(scored):
        levels[row, parameter.level_of[record.number]] = 1.0
    if not parameter.ranges:
        return Covariate(levels[:, 1:], levels)
    # Values that are tried together may differ within a range, so that its mean does not adjust for them.
    values = np.array([record.params[parameter.name] for record in scored], dtype=float)
    if values.min() > 0 and values.max() / values.min() >= _LOG_RATIO:
        values = np.log(values)
    values = (values - values.mean()) / (values.std() or 1.0)
    return Covariate(np.stack([values, values**2, values**3], axis=1), levels)


def _explained(design: Floats, scores: Floats) -> float:
    """Return the share of the variance of the scores that lies between the means of the levels."""
    if not len(scores) or float(np.var(scores)) == 0.0:
        return 0.0
    counts = design.sum(axis=0)
    means = (design.T @ scores)[counts > 0] / counts[counts > 0]
    return float(np.average((means - scores.mean()) ** 2, weights=counts[counts > 0]) / np.var(scores))


def _order(level: Level, maximize: bool) -> tuple[int, float]:
    if level.behind is not None:
        return 0, level.behind
    return (1, -level.mean if maximize else level.mean) if level.mean is not None else (2, 0.0)


def _joined(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
