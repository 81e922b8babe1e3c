"""What of this machine a run may use: cores, memory, a GPU; and how much of it other programs use."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
# A device file for each NVIDIA GPU; those of Jetson, of Windows' Linux, and of AMD's GPUs.
_GPUS = ("/dev/nvidia[0-9]*", "/dev/nvhost-gpu", "/usr/lib/wsl/lib/libcuda.so.1", "/dev/kfd")
# The NVIDIA GPUs that there are; in a container some of these may be hidden.
_COUNTED = ("/dev/nvidia[0-9]*", "/proc/driver/nvidia/gpus/*")
# How CUDA_VISIBLE_DEVICES names a GPU. CUDA ignores another word, such as -1 or NoDevFiles, and all after it.
GPU_NAME = re.compile(r"[0-9]+|(GPU|MIG)-[0-9A-Za-z/-]+")
# Long enough for the system's counters, which advance 100 times a second.
_WATCHED_SECONDS = 0.5


@dataclass(frozen=True)
class Machine:
    """What a run finds when it starts.

    Attributes:
        cores: CPU cores that this process may run on.
        busy: How many cores' worth of time other programs take on these cores.
        quota: CPU limit of the container or the service in cores, None for no limit.
        quota_used: How much of the quota other programs of the container use.
        memory: Available bytes.
    """

    cores: int
    busy: float = 0.0
    quota: float | None = None
    quota_used: float = 0.0
    memory: int = 1 << 40


def examine_machine(seconds: float = _WATCHED_SECONDS) -> Machine:
    """Watch the machine for `seconds`; what this process itself uses meanwhile does not count."""
    limited = _cpu_limit(_CGROUP, _MEMBERSHIP)
    began, own, others = time.monotonic(), _own_seconds(), _busy_seconds()
    group = _group_seconds(limited)
    time.sleep(seconds)
    own, passed = _own_seconds() - own, time.monotonic() - began
    busy = (_busy_seconds() - others - own) / passed
    used = (_group_seconds(limited) - group - own) / passed
    have = cores()
    return Machine(
        cores=have,
        busy=min(max(0.0, busy), float(have)),
        quota=limited and limited[0],
        quota_used=max(0.0, used) if limited else 0.0,
        memory=memory()[0],
    )


def cores() -> int:
    """Return the number of CPU cores that this process may run on; Slurm's may be fewer than the system's."""
    allowed = _allowed()
    count = len(allowed) if allowed else os.cpu_count() or 1
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(count, int(task)) if task.isdecimal() and int(task) else count


def threads_setting() -> int | None:
    """Return the number of threads that OMP_NUM_THREADS, or else MKL_NUM_THREADS, asks for."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()  # the others are of nested loops
        if first.isdecimal() and int(first):
            return int(first)
    return None


def cpu_quota(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> float | None:
    """Return the CPU limit of the container or the service in cores, None for no limit.

    Args:
        cgroup: Where the control groups of version 1 or 2 are mounted.
        membership: The file with the groups of this process. A limit of a group above them counts, too.
    """
    limited = _cpu_limit(cgroup, membership)
    return limited and limited[0]


def memory(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> tuple[int, int]:
    """Return the available and the total memory in bytes, within the limits of control groups."""
    import psutil

    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    for group in _groups("memory", cgroup, membership):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with contextlib.suppress(OSError, ValueError):
                limit = int((group / limit_name).read_text())  # "max" if there is no limit
                if limit < machine.total:  # version 1 writes a huge number for none
                    used = int((group / used_name).read_text()) - _statistic(group, "memory", cache_name)
                    free, total = min(free, max(0, limit - used)), min(total, limit)
    return free, total


def has_gpu() -> bool:
    """Return whether torch will find a GPU, as far as that can be known without importing it."""
    if not GPU_NAME.match(os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip()):
        return False
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return False
    libraries = Path(torch.origin).parent / "lib"
    built_for_gpus = any(any(libraries.glob(f"*torch_{kind}.*")) for kind in ("cuda", "hip"))
    return built_for_gpus and any(map(_count_paths, _GPUS))


def count_gpus() -> int | None:
    """Return how many NVIDIA GPUs there are at most; None if that is not known."""
    return max(map(_count_paths, _COUNTED)) or None


def _count_paths(pattern: str) -> int:
    return sum(1 for _ in Path("/").glob(pattern[1:]))


def _allowed() -> set[int] | None:
    """The cores that this process may run on, where the system says so."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float:
    """The CPU time that was used on our cores; what yields to us, at a low priority, is not counted."""
    import psutil

    with contextlib.suppress(Exception):  # some systems do not let a program see the counters
        each, allowed = psutil.cpu_times(percpu=True), _allowed()
        ours = [times for number, times in enumerate(each) if allowed is None or number in allowed]
        yields = getattr(os, "getpriority", None) and os.getpriority(os.PRIO_PROCESS, 0) <= 0
        names = ["user", "system", "irq", "softirq", "steal", *([] if yields else ["nice"])]
        return float(sum(getattr(times, name, 0.0) for times in ours for name in names))
    return 0.0


def _cpu_limit(cgroup: Path, membership: Path) -> tuple[float, Path] | None:
    """The lowest CPU limit in cores, and the control group that has it."""
    found: list[tuple[float, Path]] = []
    for group in _groups("cpu", cgroup, membership):
        with contextlib.suppress(OSError, ValueError):
            limit, period = (group / "cpu.max").read_text().split()  # "max" if there is no limit
            found.append((int(limit) / int(period), group))
        with contextlib.suppress(OSError, ValueError):
            quota = int((group / "cpu.cfs_quota_us").read_text())  # -1 if there is no limit
            if quota > 0:
                found.append((quota / int((group / "cpu.cfs_period_us").read_text()), group))
    return min(found, default=None, key=lambda each: each[0])


def _group_seconds(limited: tuple[float, Path] | None) -> float:
    """The CPU time that a control group has used; 0 if it is not known."""
    if limited is None:
        return 0.0
    return _statistic(limited[1], "cpu", "usage_usec") / 1e6


def _statistic(group: Path, controller: str, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (group / f"{controller}.stat").read_text().splitlines():
            if line.split()[0] == name:
                return int(line.split()[1])
    return 0


def _groups(controller: str, cgroup: Path, membership: Path) -> Iterator[Path]:
    """The directories of the control groups of this process, of both versions, with all those above them.

    In a container the path may be the host's, and not exist; then only the container's own group is found.
    """
    yield cgroup
    with contextlib.suppress(OSError, ValueError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            # Version 2 has one tree for all controllers, version 1 one for each or for some together.
            for root in {cgroup / controllers, cgroup / controller} if controllers else {cgroup}:
                own = root / path.strip("/")
                yield from (group for group in (own, *own.parents) if group.is_relative_to(root))


def peak_memory(children: bool = False) -> int:
    """Return the most memory in bytes that this process has used, or the largest of its ended children."""
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
