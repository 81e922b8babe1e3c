"""The quick commands stay quick: what they load. The layers of the package are import-linter's contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loaded_modules import loaded_after


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"sys.argv = ['sasrecf-tune', *{arguments!r}]; from sasrecf_tune.cli.app import main; main()"
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "optuna", "pandas", "numpy", "ray"}


def test_the_coordinator_loads_no_torch(tmp_path: Path) -> None:
    modules = ("cli.run", "search.coordinator", "search.study", "executors.local", "executors.ray.executor")
    code = "import " + ", ".join(f"sasrecf_tune.{name}" for name in modules)
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "ray"}
