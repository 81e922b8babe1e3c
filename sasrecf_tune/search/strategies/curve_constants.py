"""The constants of the Gaussian process over learning curves, fitted to recorded curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Lengths:
    """How far a parameter must change for scores to differ: at the end, and in the course of training."""

    level: float
    shape: float


@dataclass(frozen=True)
class Factors:
    """What constants are multiplied by: effects of seeds and of configurations, lengths of parameters."""

    noise: float = 1.0
    spread: float = 1.0
    length: float = 1.0


@dataclass(frozen=True)
class CurveConstants:
    """Standard deviations in units of the study's scale of scores, lengths in those of `Embedding`.

    A length over time is in units of log(1 + epoch) / log(1 + last epoch).

    Args:
        common: Deviation of the curve that all configurations share.
        common_length: Its length over time.
        level: Deviation of what a configuration adds at all epochs.
        shape: Deviation of what it adds at some epochs.
        shape_length: The length over time of that.
        run: Deviation that a seed causes at all epochs of a run.
        wander: Deviation that a seed causes at some epochs.
        wander_length: The length over time of that.
        noise: Deviation of a single validation.
        lengths: Of parameters by name.
        other: Of all other parameters.
    """

    common: float
    common_length: float
    level: float
    shape: float
    shape_length: float
    run: float
    wander: float
    wander_length: float
    noise: float
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    other: Lengths = Lengths(1.0, 1.0)

    @property
    def seed_variance(self) -> float:
        """The variance between runs of one configuration that differ in their seed, at one epoch."""
        return self.run**2 + self.wander**2 + self.noise**2

    def varied(self, by: Factors) -> CurveConstants:
        """These constants times factors."""

        def times(one: Lengths) -> Lengths:
            return Lengths(one.level * by.length, one.shape * by.length)

        return replace(
            self,
            level=self.level * by.spread,
            shape=self.shape * by.spread,
            run=self.run * by.noise,
            wander=self.wander * by.noise,
            noise=self.noise * by.noise,
            lengths={name: times(one) for name, one in self.lengths.items()},
            other=times(self.other),
        )


# What `python -m benchmarks.search.fit_curve_constants` calls `other`: of parameters that hardly matter.
_MINOR = Lengths(16.0, 5.5)
# Printed by the same for the tables ml-100k and amazon-beauty in benchmarks/search/curves. Parameters that
# those do not have are taken to matter more than the minor ones.
FITTED = CurveConstants(
    common=0.34,
    common_length=1.0,
    level=0.27,
    shape=0.10,
    shape_length=0.21,
    run=0.010,
    wander=0.024,
    wander_length=0.31,
    noise=0.028,
    lengths={
        "learning_rate": Lengths(4.3, 1.4),
        "hidden_dropout_prob": Lengths(3.5, 0.6),
        "attn_dropout_prob": _MINOR,
        "n_heads": _MINOR,
        "n_layers": _MINOR,
        "loss_type": Lengths(1.5, 1.0),
    },
    other=Lengths(4.0, 2.0),
)
