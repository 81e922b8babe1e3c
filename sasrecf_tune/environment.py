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


# Ray 2.6.3, which RecBole 1.2.1 requires, has no build from here on; clusters use today's Ray there.
OWN_RAY = (3, 12)
# The newest tested Python.
NEWEST = (3, 13)


def ray_versions(python: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the versions of Ray that clusters may use with this Python; pyproject.toml has them too."""
    return ">=2.60,<3" if python >= OWN_RAY else ">=2.6,<=2.6.3"


def install_command(python: tuple[int, int] = sys.version_info[:2], extra: str = "") -> str:
    """Return the command that installs the versions that were tested together; README has it too."""
    package = f"'.[{extra}]'" if extra else "."
    if python < OWN_RAY:
        return f"pip install -c constraints.txt {package}"
    return f"pip install -c constraints-new.txt {package} && pip install --no-deps recbole==1.2.1"
