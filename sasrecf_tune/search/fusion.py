"""How many trials a worker trains as one model: what --fuse says, or what a measurement does."""

from __future__ import annotations

from dataclasses import dataclass

from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.settings import AUTO_FUSE, RunSettings
from sasrecf_tune.messages import Config, FusionTiming, MeasureFusion

# More than this is not tried.
MOST = 32
# So many times as fast as fewer must more trials train together: a search that has more under way knows less
# when it chooses the next.
WORTH = 1.1
_STEPS = 4
_UP_TO = "a worker trains up to {} trials of the same shapes as one model"


@dataclass(frozen=True)
class Fused:
    """`slots` trials a worker, which train `ratio` times as fast as one after the other; in words."""

    slots: int = 1
    ratio: float = 1.0
    text: str = ""


def fuse(settings: RunSettings, config: Config, executor: Executor, measured: bool = False) -> Fused:
    """Decide, and tell the executor; a number that is given is timed only if it is to be `measured`.

    Raises:
        TuneError: as `Executor.describe`.
    """
    given = settings.fuse
    if given == 1:
        return Fused()
    if given != AUTO_FUSE and not measured:
        return Fused(given, text=_UP_TO.format(given))
    sharers = max(1, settings.workers // max(1, len(settings.gpus)))
    most = MOST if given == AUTO_FUSE else given
    request = MeasureFusion(config, settings.engine, _STEPS, most, WORTH, given != AUTO_FUSE, sharers)
    found = decide(executor.measure_fusion(request), given)
    executor.slots = found.slots
    return found


def decide(timing: FusionTiming, given: int) -> Fused:
    """What the measurement says: the most trials that were worth it, or those that are `given`."""
    ratios = timing.ratios
    if given != AUTO_FUSE:
        ratio = ratios.get(given, 1.0)
        pace = f"{ratio:.1f} times as fast as in turn" if given in ratios else timing.stop_reason
        return Fused(given, ratio, f"{_UP_TO.format(given)}: {pace}")
    best, gain = 1, 1.0
    for count, ratio in sorted(ratios.items()):
        if ratio >= WORTH * gain:
            best, gain = count, ratio
    if best > 1:
        why = f"{gain:.1f} times as fast as in turn; {timing.stop_reason}"
        return Fused(best, gain, f"{_UP_TO.format(best)}: {why}")
    few = min(ratios, default=1)
    why = (
        f"{few} as one model are {ratios[few]:.1f} times as fast as in turn" if ratios else timing.stop_reason
    )
    return Fused(text=f"a worker trains one trial at a time: {why}")
