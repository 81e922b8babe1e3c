"""The machine and the Python that this process runs on, with the limits of a container."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def process_name() -> str:
    """Return a name of this process that is valid in a file name: its machine and process id."""
    return f"{host_name()}-{os.getpid()}"


def host_name() -> str:
    """Return a name of this machine that is valid in a file name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", platform.node())[:60] or "host"


def cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_time(cgroup: Path = _CGROUP) -> float | None:
    """Return the CPU limit of the container in cores, None for no limit (cgroup v2, cpu.max)."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    return None


def memory(cgroup: Path = _CGROUP) -> tuple[int, int]:
    """Return the available and the total memory in bytes, within the limit of the container."""
    import psutil

    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    with contextlib.suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())  # "max" if there is no limit
        free = min(free, limit - int((cgroup / "memory.current").read_text()))
        total = min(total, limit)
    return free, total


# Ray 2.6.3, which RecBole 1.2.1 requires, has no build from here on. Without clusters it is not needed.
WITHOUT_RAY = (3, 12)
# The newest tested Python.
NEWEST = (3, 13)


def install_command(python: tuple[int, int] = sys.version_info[:2], extra: str = "") -> str:
    """Return the command that installs the versions that were tested together; README has it too."""
    package = f"'.[{extra}]'" if extra else "."
    if python < WITHOUT_RAY:
        return f"pip install -c constraints.txt {package}"
    return f"pip install -c constraints-new.txt {package} && pip install --no-deps recbole==1.2.1"


def how_to_get_ray() -> str:
    """Return what to do if Ray is missing."""
    if sys.version_info[:2] < WITHOUT_RAY:
        return f"Install it: {install_command()}"
    return "Ray 2.6.3 has no build for this Python; clusters require Python 3.11 on all nodes."


def peak_memory(children: bool = False) -> int:
    """Return the most memory in bytes that this process has used, or the largest of its ended children."""
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
