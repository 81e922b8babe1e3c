"""What of a machine is found: cores, quotas, memory, the load of others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from sasrecf_tune import machine
from sasrecf_tune.machine import (
    cores,
    count_gpus,
    cpu_quota,
    examine_machine,
    has_gpu,
    memory,
    threads_setting,
)


@pytest.fixture
def groups(tmp_path: Path) -> Any:
    """Writes the files of control groups; `groups(path, **files)` uses "_" for "." in names."""

    def write(path: str, **files: str) -> None:
        for name, content in files.items():
            file = tmp_path / path / name.replace("_", ".", 1)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    return write


def quota(root: Path, membership: str = "") -> float | None:
    (root / "membership").write_text(membership)
    return cpu_quota(root, root / "membership")


def test_a_cpu_quota_is_that_of_the_tightest_group(tmp_path: Path, groups: Any) -> None:
    assert cpu_quota(tmp_path, tmp_path / "nowhere") is None
    groups("", cpu_max="max 100000\n")
    assert quota(tmp_path) is None
    groups("", cpu_max="250000 100000\n")
    assert quota(tmp_path) == 2.5
    # A service, whose slice has a lower limit; the path of a container's host does not exist inside.
    groups("work.slice", cpu_max="150000 100000\n")
    groups("work.slice/run.scope", cpu_max="max 100000\n")
    assert quota(tmp_path, "0::/work.slice/run.scope\n") == 1.5
    assert quota(tmp_path, "0::/docker/abc\n") == quota(tmp_path, "nonsense\n") == 2.5


@pytest.mark.parametrize(
    ("mount", "controllers"), [("cpu", "cpu"), ("cpu,cpuacct", "cpu,cpuacct"), ("cpu", "cpu,cpuacct")]
)
def test_a_cpu_quota_of_control_groups_of_version_1(
    tmp_path: Path, groups: Any, mount: str, controllers: str
) -> None:
    groups(mount, cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n")
    own = f"2:memory:/elsewhere\n1:{controllers}:/docker/abc\n0::/\n"
    assert quota(tmp_path, own) is None
    groups(f"{mount}/docker", cpu_cfs_quota_us="300000\n", cpu_cfs_period_us="100000\n")
    assert quota(tmp_path, own) == 3
    groups(f"{mount}/elsewhere", cpu_cfs_quota_us="100000\n", cpu_cfs_period_us="100000\n")
    assert quota(tmp_path, own) == 3


def test_memory_is_within_the_limits_of_control_groups(
    tmp_path: Path, groups: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    free, total = memory(tmp_path, nowhere)
    assert 0 < free < total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 << 20, total=8 << 20))
    groups("", memory_max="max\n", memory_current="1000\n")
    assert memory(tmp_path, nowhere) == (4 << 20, 8 << 20)
    groups("", memory_max="5000\n")
    assert memory(tmp_path, nowhere) == (4000, 5000)
    # Files that were read count as used memory until it is needed.
    groups("", memory_stat="anon 100\ninactive_file 600\n")
    assert memory(tmp_path, nowhere) == (4600, 5000)
    groups("memory/a", memory_limit_in_bytes="3000\n", memory_usage_in_bytes="2900\n")
    (tmp_path / "membership").write_text("4:memory:/a\n")
    assert memory(tmp_path, tmp_path / "membership") == (100, 3000)
    groups("memory/a", memory_limit_in_bytes="9223372036854771712\n")
    assert memory(tmp_path, tmp_path / "membership") == (4600, 5000)


class Clock:
    """CPU times of two cores, which advance when the program under test sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **a_second: float) -> None:
        self.now, self.a_second, self.own = 0.0, a_second, 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        times = SimpleNamespace(sleep=self.sleep, monotonic=lambda: self.now)
        monkeypatch.setattr(machine, "time", times)
        monkeypatch.setattr(machine, "_own_seconds", lambda: self.own * self.now)
        monkeypatch.setattr(machine, "cores", lambda: 2)
        monkeypatch.setattr(machine, "_allowed", lambda: {0, 2})
        monkeypatch.setattr(psutil, "cpu_times", self.cpu_times)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def cpu_times(self, percpu: bool) -> list[SimpleNamespace]:
        used = SimpleNamespace(**{name: 100 + value * self.now for name, value in self.a_second.items()})
        all_of_it = SimpleNamespace(user=100 + self.now)
        return [used, all_of_it, used, all_of_it]


def test_the_load_of_others_on_our_cores_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, user=0.4, system=0.1, idle=0.3, iowait=0.2)
    assert examine_machine().busy == pytest.approx(1.0)
    clock.own = 0.8
    assert examine_machine().busy == pytest.approx(0.2)
    clock.own = 3.0
    assert examine_machine().busy == 0
    clock.own, clock.a_second = 0.0, {"user": 0.2, "nice": 0.7, "steal": 0.1}
    assert examine_machine().busy == pytest.approx(0.6)  # what is nice gives way

    def denied(percpu: bool) -> None:
        raise PermissionError

    monkeypatch.setattr(psutil, "cpu_times", denied)
    assert examine_machine().busy == 0


def test_what_others_in_the_container_use_of_its_quota_is_measured(
    tmp_path: Path, groups: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, user=0.5)
    groups("", cpu_max="200000 100000\n", cpu_stat="usage_usec 0\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "nowhere")
    clock.on_sleep = lambda: groups("", cpu_stat=f"usage_usec {1.5e6 * clock.now:.0f}\nuser_usec 7\n")
    found = examine_machine(2.0)
    assert found.quota == 2.0 and found.quota_used == pytest.approx(1.5) and found.busy == pytest.approx(1.0)


def test_a_process_that_computes_makes_the_machine_busy() -> None:
    computing = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=-1)
    try:
        assert computing.stdout is not None and computing.stdout.readline()
        assert examine_machine().busy > 0.1
    finally:
        computing.kill()
        computing.communicate()


def test_cores_without_affinity_and_of_a_slurm_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores() == 8 and examine_machine(0.01).cores == 8
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert cores() == 4
    for strange in ("", "0", "x", "100"):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", strange)
        assert cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize(
    ("openmp", "mkl", "threads"),
    [("", "", None), ("4", "2", 4), (" 4,2 ", "", 4), ("", "2", 2), ("x", "", None), ("0", "", None)],
)
def test_the_threads_of_the_environment(
    openmp: str, mkl: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    monkeypatch.setenv("MKL_NUM_THREADS", mkl)
    assert threads_setting() == threads


def test_a_gpu_is_found_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SimpleNamespace(origin=str(tmp_path / "torch" / "__init__.py"))
    libraries, device = tmp_path / "torch" / "lib", tmp_path / "nvidia0"
    libraries.mkdir(parents=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(machine, "_GPUS", (str(tmp_path / "nvidia[0-9]*"),))
    assert not has_gpu()
    device.touch()
    assert not has_gpu()  # a build for the CPU
    (libraries / "libtorch_cuda.so").touch()
    assert has_gpu()
    for hidden in ("", "-1", "NoDevFiles", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert has_gpu()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not has_gpu()


def test_gpus_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = tuple(f"{tmp_path}/{place}/[0-9]*" for place in ("dev", "driver"))
    monkeypatch.setattr(machine, "_COUNTED", patterns)
    assert count_gpus() is None
    (tmp_path / "dev" / "0").mkdir(parents=True)
    assert count_gpus() == 1
    for index in range(3):  # the files of two GPUs have not been made yet
        (tmp_path / "driver" / str(index)).mkdir(parents=True)
    assert count_gpus() == 3
