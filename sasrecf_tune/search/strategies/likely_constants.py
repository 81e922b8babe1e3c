"""Adapts the constants of the process to the study at hand, within bounds."""

from __future__ import annotations

from collections.abc import Callable

from sasrecf_tune.search.strategies.curve_constants import CurveConstants

# What lengths and the noise of seeds may be multiplied by, and the logarithm of how likely that was at first.
LENGTHS = {0.5: -3.0, 1.0: 0.0, 2.0: -3.0}
NOISE = {0.5: -3.0, 1.0: 0.0, 2.0: -3.0, 4.0: -6.0}


def likely_constants(
    constants: CurveConstants, log_likelihood: Callable[[CurveConstants], float]
) -> CurveConstants:
    """The most likely of the constants and their variations: first of the noise, then of the lengths."""
    noise = max(NOISE, key=lambda factor: NOISE[factor] + log_likelihood(constants.varied(1.0, factor)))
    length = max(
        LENGTHS, key=lambda factor: LENGTHS[factor] + log_likelihood(constants.varied(factor, noise))
    )
    return constants.varied(length, noise)
