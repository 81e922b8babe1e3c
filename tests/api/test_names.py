"""What `import sasrecf_tune` offers, and what it loads."""

from __future__ import annotations

from pathlib import Path

import pytest

import sasrecf_tune as st
from tests.support.loaded_modules import loaded_after

HEAVY = {"torch", "recbole", "optuna", "pandas", "numpy", "ray", "rich", "sqlalchemy"}


def test_every_name_is_there_and_documented() -> None:
    for name in st.__all__:
        assert getattr(st, name) is not None
        assert name == "__version__" or getattr(st, name).__doc__
    assert set(st.__all__) <= set(dir(st))
    lazy = [name for names in st._MODULES.values() for name in names]
    assert sorted([*lazy, "__version__"]) == sorted(st.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        st.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_after("import sasrecf_tune", tmp_path) & HEAVY


def test_writing_a_space_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sasrecf_tune as st; st.SearchSpace({'learning_rate': st.log(1e-4, 1e-2)})"
    assert not loaded_after(code, tmp_path) & HEAVY
