"""What this process may use of the machine: in a container that is less than the machine has."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def process_name() -> str:
    """A name of this process that may be part of a file's name: its machine and its number there."""
    return f"{host_name()}-{os.getpid()}"


def host_name() -> str:
    """A name of this machine that may be part of a file's name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", platform.node())[:60] or "host"


def cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_time(cgroup: Path = _CGROUP) -> float | None:
    """CPU seconds a second that a container is given, None for no limit (cgroup v2, cpu.max)."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    return None


def memory(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> tuple[int | None, int | None]:
    """Bytes of memory that are free for programs, and all; None where the system does not say."""
    free = total = None
    with contextlib.suppress(OSError):
        found = dict(re.findall(r"^(\w+): +(\d+) kB$", meminfo.read_text(), re.MULTILINE))
        total = 1024 * int(found["MemTotal"]) if "MemTotal" in found else None
        free = 1024 * int(found["MemAvailable"]) if "MemAvailable" in found else None
    with contextlib.suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())  # "max" for none
        left = limit - int((cgroup / "memory.current").read_text())
        total = limit if total is None else min(total, limit)
        free = left if free is None else min(free, left)
    return free, total


# From here on there is no build of Ray 2.6.3, which RecBole 1.2.1 asks for; what is used of it needs none.
WITHOUT_RAY = (3, 12)
# The last that it was tested on.
NEWEST = (3, 13)


def install_command(python: tuple[int, int] = sys.version_info[:2], extra: str = "") -> str:
    """The command that installs the versions that were tested together; README has the same."""
    package = f"'.[{extra}]'" if extra else "."
    if python < WITHOUT_RAY:
        return f"pip install -c constraints.txt {package}"
    return f"pip install -c constraints-new.txt {package} && pip install --no-deps recbole==1.2.1"


def how_to_get_ray(python: tuple[int, int] = sys.version_info[:2]) -> str:
    """What to do where Ray is missing."""
    if python < WITHOUT_RAY:
        return f"Install it: {install_command(python)}"
    return "RecBole's Ray has no build for this Python; clusters need Python 3.11 on all nodes."
