"""What runs in the processes of busy.py: training steps for a while."""

from __future__ import annotations

import time

from benchmarks.engine.measured_engines import MeasuredEngine
from benchmarks.engine.processes import ProcessSetting


def make(setting: ProcessSetting) -> MeasuredSteps:
    """Return what `setting` names."""
    return MeasuredSteps(setting, "cpu")


class MeasuredSteps(MeasuredEngine):
    """The engine `recbole` or `fast`, which trains for a number of seconds."""

    def train(self, seconds: float) -> float:
        """Train whole steps until `seconds` have passed, at least one; return the steps in a second."""
        steps, began = 0, time.perf_counter()
        while not steps or time.perf_counter() - began < seconds:
            self.step()
            steps += 1
        return steps / (time.perf_counter() - began)
