"""The quick commands stay quick: what they load. The layers of the package are import-linter's contracts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def loaded_after(code: str, cwd: Path) -> set[str]:
    """Top-level modules in sys.modules after running `code` in a new process."""
    script = (
        f"import sys, json\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"sys.argv = ['sasrecf-tune', *{arguments!r}]; from sasrecf_tune.cli.app import main; main()"
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "optuna", "pandas", "numpy", "ray"}


def test_the_coordinator_loads_no_torch(tmp_path: Path) -> None:
    modules = ("cli.run", "search.coordinator", "search.study", "executors.local", "executors.ray.executor")
    code = "import " + ", ".join(f"sasrecf_tune.{name}" for name in modules)
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "ray"}
