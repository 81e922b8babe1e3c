"""RecBole on the numpy, pandas and Python that are installed, whichever they are; CI has old and new ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import recbole.data.dataset.dataset as recbole_dataset
import torch
from packaging.version import Version

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, make_config, prepare
from sasrecf_tune.engine.recbole_shims import numpy_1_names
from sasrecf_tune.environment import install_command
from tests.support.paths import ROOT
from tests.support.synthetic_data import NAME, base, muted, write_data_set

__all__ = ["muted"]

PANDAS_3 = Version(pd.__version__).major >= 3


def items(parent: Path, engine: Engine, **changes: Any) -> dict[str, torch.Tensor]:
    """Item features as they reach the model, the items in the order of their names."""
    dataset = prepare(make_config(base(parent) | changes), engine).dataset
    table = dataset.get_item_feature()
    names = dataset.field2id_token["item_id"]
    order = [0, *sorted(range(1, len(names)), key=lambda item: int(names[item][1:]))]
    return {name: table[name][order] for name in ("colour", "tags", "price", "sizes")}


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_missing_values_are_filled_as_recbole_intends(tmp_path: Path, engine: Engine) -> None:
    parent = write_data_set(tmp_path)
    path = parent / NAME / f"{NAME}.item"
    lines = path.read_text().splitlines()
    lines[1] = "i0\t\tt1 t2\t0.5\t1.0 2.0 3.0"
    lines[2] = "i1\tc1\t\t\t1.0 2.0 3.0"
    lines[3] = "i2\tc1\tt1\t1.5\t"
    path.write_text("\n".join(lines) + "\n")

    found = items(parent, engine)
    there = {line.split("\t")[0]: line.split("\t") for line in lines[1:]}
    assert found["colour"][1] == 0 and (found["colour"][2:] > 0).all()
    assert not found["tags"][2].any() and found["tags"][1].count_nonzero() == 2
    assert found["tags"][1][0] == found["tags"][3][0]
    counts = [len(there[f"i{item}"][2].split()) for item in range(37)]
    assert found["tags"][1:].count_nonzero(dim=1).tolist() == counts
    # numerical features are pairs of the value and its weight
    prices = [float(line[3]) for line in there.values() if line[3]]
    assert found["price"][2][0] == pytest.approx(sum(prices) / len(prices), rel=0.2)
    assert found["price"].isfinite().all() and found["sizes"].isfinite().all()
    assert not found["sizes"][3, :, 0].any()
    assert found["sizes"][1, :, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_sequences_are_normalised_and_put_into_buckets_row_by_row(tmp_path: Path, engine: Engine) -> None:
    parent = write_data_set(tmp_path)
    for changes in (
        {"normalize_field": ["sizes"]},
        {"discretization": {"sizes": {"method": "ED", "bucket": 4}}},
    ):
        found = items(parent, engine, **changes)["sizes"]
        assert found.shape[:2] == (38, 3) and found.isfinite().all()
        normalised = "normalize_field" in changes
        values = set(found[1:, :, 0 if normalised else 1].flatten().tolist())
        assert (min(values), max(values)) == ((0, 1) if normalised else (1, 4))
        assert len(values) > 50 if normalised else len(values) == 4


def test_numpy_is_unchanged_afterwards() -> None:
    before = {name: hasattr(np, name) for name in ("float_", "complex_", "unicode_")}
    with numpy_1_names():
        assert np.dtype(getattr(np, "float_")) == np.float64  # noqa: B009  # numpy 2's stubs lack it
        make_config(base(Path("anywhere")))
    assert {name: hasattr(np, name) for name in before} == before


def test_working_versions_are_not_patched() -> None:
    assert (recbole_dataset.pd is not pd) == PANDAS_3 == ("len" in vars(recbole_dataset))
    assert not PANDAS_3 or pd.Series([[1], [2, 3]]).agg(len) == 2  # pandas itself is left alone


def test_a_worker_needs_no_ray_and_no_pkg_resources() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('ray', 'pkg_resources', 'setuptools.pkg_resources')));"
        "import sasrecf_tune.training.runner, sasrecf_tune.engine.fast.build; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "fine\n"


WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.split(".")[0] == "recbole" else find(name, *more)
"""


def without_recbole(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a Python that has all but RecBole."""
    (cwd / "path").mkdir(exist_ok=True)
    (cwd / "path" / "sitecustomize.py").write_text(WITHOUT)
    paths = [str(cwd / "path"), str(ROOT)]
    return subprocess.run(
        [sys.executable, "-m", "sasrecf_tune", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )


@pytest.mark.parametrize("own_data", [False, True])
def test_a_search_without_recbole_tells_how_to_install_it(tmp_path: Path, own_data: bool) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01]\n")
    data: list[str] = []
    if own_data:
        data = ["--dataset", NAME, "--data-path", str(write_data_set(tmp_path)), "--gpus", "none"]
        data += ["--set", "selected_features=[colour]"]
    done = without_recbole(tmp_path, "run", "--params-file", "hyper.test", *data)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert "RecBole is not installed" in done.stderr and install_command() in done.stderr
