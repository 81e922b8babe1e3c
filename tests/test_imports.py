"""Who may import what, and that the quick commands stay quick."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sasrecf_tune"

# Zones of the architecture: 1 standard library only, 2 may import optuna, 3 may import torch and recbole,
# 4 is the shell. A module imports from its own zone or from zone 1; the shell from zones 1, 2 and 4.
# Zone 3 is entered through imports inside functions alone.
ZONES = {
    1: """
        __init__ errors literals space params_file parameters checks feasibility metrics settings layout files
        messages recbole_keys lock machine notes ranking confirmation chosen repetition atomic_files data
        failures observer scratch patience coordinates executors.base comparison comparability lanes shapes
        installation untold differences passwords
    """,
    2: """
        best_first candidates confirmation_study damage distributions extrapolation forecast_pruner samplers
        pruners sole_writer storage study search plan company coordinators server shared_study endings outages
        study_tables mysql
    """,
    3: """
        recbole_bridge data_scan trial probe unfinished tensor_files shared_data engine random_streams
        lockstep together_timing compatibility trial_errors
    """,
    4: """
        __main__ cli options arguments commands dashboard doctor run summary progress screen manifest
        config_files result_files worker confirm confirmation_files best_config results reproduce executors
        report compare slots fusing
    """,
}
ZONE_OF = {module: zone for zone, names in ZONES.items() for module in names.split()}
HEAVY = {"torch": 3, "recbole": 3, "optuna": 2}


def module_level_imports(path: Path) -> set[str]:
    """Modules imported at the top level of a file, outside of functions and `if TYPE_CHECKING`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        for inner in [node, *(node.body if isinstance(node, ast.With | ast.Try) else [])]:
            if isinstance(inner, ast.Import):
                found |= {alias.name for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom) and inner.module:
                found.add(inner.module)
                if inner.module == "sasrecf_tune":
                    found |= {f"sasrecf_tune.{alias.name}" for alias in inner.names}
    return found


def all_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def zone(dotted: str) -> int | None:
    """Of `search` or `executors.base`; a package's zone is that of its modules unless they have their own."""
    return ZONE_OF.get(dotted, ZONE_OF.get(dotted.split(".")[0]))


@pytest.mark.parametrize("path", all_modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = zone(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    assert own is not None, f"{path} has no zone"
    for name in module_level_imports(path):
        top = name.split(".")[0]
        if top in HEAVY:
            assert own == HEAVY[top], f"{path.name} imports {name}"
        elif top == "sasrecf_tune" and "." in name:
            other = zone(name.removeprefix("sasrecf_tune."))
            allowed = {1: {1}, 2: {1, 2}, 3: {1, 3}, 4: {1, 2, 4}}[own]
            assert other is None or other in allowed, f"{path.name} (zone {own}) imports {name}"
        elif own == 1:
            assert top in sys.stdlib_module_names, f"{path.name} imports {name}"


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
    modules = ("run", "search", "study", "executors.local", "executors.ray")
    code = "import " + ", ".join(f"sasrecf_tune.{name}" for name in modules)
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "ray"}
