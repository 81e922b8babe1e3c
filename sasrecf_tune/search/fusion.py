"""How many trials a worker trains as one model: a number from --fuse, or the one that a measurement finds."""

from __future__ import annotations

from dataclasses import dataclass

from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.option_values import AUTO_FUSE
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Config, FusionTiming, MeasureFusion

# Larger numbers of trials are not tried.
MAX_FUSED = 32
# More trials must train at least so many times as fast as fewer: with more trials in training, the sampler
# knows fewer scores when it proposes the next.
MIN_GAIN = 1.1
_STEPS = 4
_UP_TO = "a worker trains up to {} trials of the same shapes as one model"


@dataclass(frozen=True)
class Fusion:
    """How trials are fused.

    Args:
        slots: Trials that a worker trains as one model, at most.
        speedup: How many times as fast they train as one after the other; 1 if not measured.
        text: What the plan says of it.
    """

    slots: int = 1
    speedup: float = 1.0
    text: str = ""


def plan_fusion(
    settings: RunSettings, workers: int, config: Config, executor: Executor, measure: bool = False
) -> Fusion:
    """Decide how trials are fused, and set the slots of the executor.

    Args:
        settings: With `fuse`, the number from --fuse (more than 1) or AUTO_FUSE.
        workers: The number of workers.
        config: A feasible RecBole configuration, for the measurement.
        executor: Measures, and gets the number as its `slots`.
        measure: Whether to measure even if the number is given.

    Raises:
        TuneError: as `Executor.describe`.
    """
    given = settings.fuse
    if given != AUTO_FUSE and not measure:
        return Fusion(given, text=_UP_TO.format(given))
    sharers = max(1, workers // max(1, len(settings.gpus)))
    most = MAX_FUSED if given == AUTO_FUSE else given
    request = MeasureFusion(config, settings.engine, _STEPS, most, MIN_GAIN, given != AUTO_FUSE, sharers)
    fusion = pick_fusion(executor.measure_fusion(request), given)
    executor.slots = fusion.slots
    return fusion


def pick_fusion(timing: FusionTiming, given: int) -> Fusion:
    """The given number of trials, or for AUTO_FUSE the largest that was measured to be fast enough."""
    speedups = timing.ratios
    if given != AUTO_FUSE:
        speedup = speedups.get(given, 1.0)
        result = f"{speedup:.1f} times as fast as in turn" if given in speedups else timing.stop_reason
        return Fusion(given, speedup, f"{_UP_TO.format(given)}: {result}")
    best, best_speedup = 1, 1.0
    for count, speedup in sorted(speedups.items()):
        if speedup >= MIN_GAIN * best_speedup:
            best, best_speedup = count, speedup
    if best > 1:
        result = f"{best_speedup:.1f} times as fast as in turn; {timing.stop_reason}"
        return Fusion(best, best_speedup, f"{_UP_TO.format(best)}: {result}")
    fewest = min(speedups, default=1)
    result = timing.stop_reason
    if speedups:
        result = f"{fewest} as one model are {speedups[fewest]:.1f} times as fast as in turn"
    return Fusion(text=f"a worker trains one trial at a time: {result}")
