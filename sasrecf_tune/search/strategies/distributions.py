"""A search space as Optuna's distributions, so that other tools of Optuna can read the study."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sasrecf_tune.inputs.search_space import (
    Choice,
    Int,
    Log,
    LogUniform,
    Parameter,
    QUniform,
    SearchSpace,
    Uniform,
)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The distribution of each parameter, in the order of the space."""
    return {parameter.name: _distribution(parameter) for parameter in space}


def _distribution(parameter: Parameter) -> BaseDistribution:
    match parameter:
        case Choice():
            return CategoricalDistribution(parameter.labels)
        case Uniform():
            return FloatDistribution(*parameter.bounds)
        case LogUniform() | Log():
            return FloatDistribution(*parameter.bounds, log=True)
        case QUniform() if parameter.by_factor:
            return IntDistribution(parameter.factors[0], parameter.factors[-1])
        case Int() | QUniform():
            # Optuna wants the last value, which may be below the upper bound.
            values = parameter.values
            first, last = values[0], values[-1]
            if isinstance(first, int) and isinstance(last, int):
                step = int(parameter.step if isinstance(parameter, Int) else parameter.q)
                return IntDistribution(first, last, step=step)
            assert isinstance(parameter, QUniform)
            return FloatDistribution(float(first), float(last), step=parameter.q)
