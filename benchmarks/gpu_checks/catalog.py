"""The checks, in the order of their weight."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A check: "module:function" in this package, and how long it may take at most."""

    function: str
    seconds: int


CHECKS = {
    "agreement": Check("correctness:agreement", 120),
    "bits": Check("correctness:bits", 60),
    "fused": Check("correctness:together", 60),
    "waits": Check("timings:waits", 60),
    "step": Check("timings:step", 90),
    "fused-step": Check("timings:fused_step", 90),
    "configurations": Check("correctness:configurations", 90),
    "continued": Check("correctness:continued", 60),
    "many-items": Check("timings:many_items", 90),
    "reproduced": Check("searches:reproduced", 90),
    "broken": Check("searches:broken", 120),
    "crowded": Check("searches:crowded", 120),
}
