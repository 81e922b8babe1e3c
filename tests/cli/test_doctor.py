"""`doctor`: on this machine, on broken installations, and in containers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sasrecf_tune.cli import doctor
from sasrecf_tune.cli.doctor import OK, PROBLEM, WARNING
from sasrecf_tune.environment import TF32_OVERRIDE, install_command, installed_version, ray_versions
from sasrecf_tune.machine import Machine
from tests.support.paths import ROOT

Cli = Callable[..., subprocess.CompletedProcess[str]]


def examined(cwd: Path, *arguments: str, broken: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """The command, with a library in front of the real one that says `broken` when it is imported."""
    library, _, code = broken.partition(":")
    if library:
        (cwd / "path" / library).mkdir(parents=True)
        (cwd / "path" / library / "__init__.py").write_text(code)
    paths = [str(cwd / "path"), str(ROOT)]
    return subprocess.run(
        [sys.executable, "-m", "sasrecf_tune", "doctor", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": os.pathsep.join(paths)} | env,
    )


def test_a_correct_installation_passes_all_checks(tmp_path: Path) -> None:
    done = examined(tmp_path, "--out", "a/b")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr and not list(tmp_path.iterdir())
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    checks = {line[9:].split()[0]: line.split()[0] for line in lines[:-2] if line[0] != " "}
    assert checks.pop("workers") in (OK, WARNING) and checks.pop("memory") in (OK, WARNING)
    checks.pop("run_recbole", None)  # only on newer stacks
    sound = ("python", "versions", "ray", "checkpoints", "directory", "device", "training")
    assert checks == dict.fromkeys(sound, OK)
    assert "2 steps of a small SASRecF on ml-100k" in done.stdout
    assert "a worker on ml-100k uses" in done.stdout


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        ("torch:raise ImportError('libcudart.so.12: no such file')", "torch", "ImportError: libcudart.so.12"),
        ("torch:import os\nos.kill(os.getpid(), 4)", "torch", "its process was killed by SIGILL"),
        (
            "recbole:import numpy\nnumpy.float_16_",
            "training",
            "a worker could not start: the reason is not known",
        ),
    ],
)
def test_a_broken_installation_is_reported_as_a_problem(
    tmp_path: Path, broken: str, check: str, message: str
) -> None:
    (tmp_path / "file").touch()
    done = examined(tmp_path, "--json", "--out", "file/out", broken=broken)
    assert done.returncode == 1 and not done.stderr, done.stderr
    found = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {name for name, line in found.items() if line["status"] == PROBLEM} == {"directory", check}
    assert message in found[check]["found"] and install_command() in found[check]["remedy"]
    assert str(tmp_path / "file") in found["directory"]["found"]


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("numpy", "3.0.0", "not tested"),
        ("pandas", "4.0.0", "not tested"),
        ("recbole", "1.2.0", "RecBole 1.2.1"),
        ("recbole", None, "not installed"),
        ("optuna", "4.5.0", "not tested"),
        ("torch", None, "not installed"),
    ],
)
def test_unsupported_versions_are_problems(name: str, version: str | None, message: str) -> None:
    def installed(asked: str) -> str | None:
        return version if asked == name else installed_version(asked)

    found = {finding.check: finding for finding in doctor.versions(installed)}
    assert found[name].status == PROBLEM and message in found[name].found
    assert "pip install" in found[name].remedy
    assert f"{name} " not in found["versions"].found


PINNED = {"numpy": "1.26.4", "pandas": "2.3.3", "ray": "2.6.3", "setuptools": "80.10.2"}


def test_checkpoints_and_setuptools_are_reported_only_where_relevant(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def has_pkg_resources(there: bool) -> None:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: (object() if there else None) if name == "pkg_resources" else find(name),
        )

    has_pkg_resources(True)

    def checks(**versions: str) -> dict[str, str]:
        known = PINNED | versions
        found = doctor.versions(lambda name: known.get(name) or installed_version(name))
        return {finding.check: finding.status for finding in found if finding.check != "ray"}

    assert checks(torch="2.5.1", setuptools="99.0") == {"versions": OK}
    assert checks(torch="2.10.0+cu130") == {"versions": OK, "checkpoints": OK}
    has_pkg_resources(False)
    assert checks(torch="2.5.1") == {"versions": OK, "setuptools": WARNING}


def test_versions_that_run_recbole_does_not_support_are_named() -> None:
    def finding_text(**versions: str | None) -> str:
        known = PINNED | versions
        installed = lambda name: known[name] if name in known else installed_version(name)  # noqa: E731
        found = {finding.check: finding for finding in doctor.versions(installed)}
        assert found["run_recbole"].status == OK
        return found["run_recbole"].found

    newer = finding_text(numpy="2.5.5", pandas="3.1.1", ray=None)
    assert newer.startswith("numpy 2.5.5, pandas 3.1.1, no Ray: ") and "best.yaml" in newer
    assert finding_text(ray=None).startswith("no Ray: ")
    assert finding_text(ray="2.60.0").startswith("ray 2.60.0: ")


@pytest.mark.parametrize(
    ("python", "found", "status", "message"),
    [
        ((3, 11), "2.6.3", OK, "2.6.3, for --executor ray"),
        ((3, 11), "2.60.0", WARNING, "2.60.0: not tested; on Python 3.11, --executor ray is tested with"),
        ((3, 12), "2.60.0", OK, "2.60.0, for --executor ray"),
        ((3, 13), "2.44.1", WARNING, "2.44.1: not tested"),
        ((3, 13), None, OK, "not installed; only --executor ray needs it. Install the tested version: pip"),
    ],
)
def test_the_version_of_ray_is_compared_with_the_tested_ones(
    python: tuple[int, int], found: str | None, status: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    finding = doctor.ray(lambda _: found)
    assert finding.status == status and finding.found.startswith(message)
    assert "'.[ray]'" in finding.found + finding.remedy or (status, found is None) == (OK, False)


def test_the_tested_versions_of_ray_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (text,) = project["optional-dependencies"]["ray"]
    requirement = Requirement(text)
    assert requirement.specifier == SpecifierSet(ray_versions((3, 12)))
    assert str(requirement.marker) == 'python_version >= "3.12"'
    for python, constraints in (((3, 11), "constraints.txt"), ((3, 13), "constraints-new.txt")):
        lines = (ROOT / constraints).read_text().splitlines()
        (pinned,) = (line.removeprefix("ray==") for line in lines if line.startswith("ray=="))
        assert SpecifierSet(ray_versions(python)).contains(pinned)


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [
        ((3, 11), OK, ""),
        ((3, 12), OK, "its own Ray"),
        ((3, 13), OK, "its own Ray"),
        ((3, 14), WARNING, "not tested"),
    ],
)
def test_python_versions(
    version: tuple[int, int], status: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    found = doctor.python()
    assert found.status == status and message in found.found and bool(found.remedy) == (status != OK)


GPU = {"name": "NVIDIA T4", "free": 14 << 30, "total": 15 << 30}


def test_gpus_are_reported_with_their_memory() -> None:
    found = doctor.device({"cuda": "13.0", "gpus": [GPU, GPU]})
    assert found.found.startswith("GPU 0: NVIDIA T4, 14.0 GiB of 15.0 GiB free; GPU 1: ")
    assert doctor.device({"cuda": None, "gpus": []}).check == "device"


def test_a_variable_that_turns_tf32_on_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: ({"cuda": "13.0", "gpus": [GPU], "threads": 1}, ""))
    monkeypatch.setattr(doctor, "training", lambda: doctor.Finding("training", OK, ""))

    def found() -> list[tuple[str, str]]:
        return [(one.status, one.remedy) for one in doctor.examine(tmp_path) if one.check == "tf32"]

    monkeypatch.delenv(TF32_OVERRIDE, raising=False)
    assert found() == []
    monkeypatch.setenv(TF32_OVERRIDE, "1")
    assert found() == [(WARNING, "unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")]


@pytest.mark.parametrize(
    ("machine", "threads", "status", "words"),
    [
        (Machine(16, busy=0.2), "", OK, "16 workers of 1 thread: 16 cores"),
        (Machine(16), "1", OK, "16 workers of 1 thread: OMP_NUM_THREADS=1, 16 cores"),
        (Machine(4, busy=2.0), "", WARNING, "4 cores, 2 busy"),
        (Machine(16, quota=4.0), "", WARNING, "4 workers of 1 thread: 16 cores, limited to 4"),
        (Machine(16), "8", WARNING, "2 workers of 8 threads: OMP_NUM_THREADS=8"),
    ],
)
def test_a_busy_machine_a_quota_and_threads_are_a_warning(
    machine: Machine, threads: str, status: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = doctor.workers(machine)
    assert found.status == status and words in found.found and bool(found.remedy) == (status == WARNING)


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    free: tuple[Any, Any] = (1 << 30, 8 << 30)
    monkeypatch.setattr(doctor, "memory", lambda: free)
    assert [doctor.free_memory(taken).status for taken in (None, 1 << 29, 1 << 30)] == [OK, OK, WARNING]


def test_doctor_imports_no_heavy_libraries() -> None:
    heavy = "{'torch', 'recbole', 'optuna', 'numpy'}"
    script = f"import sys, sasrecf_tune.cli.doctor; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
