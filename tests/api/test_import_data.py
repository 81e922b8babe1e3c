"""`import_data` has the options of the command, and gives `tune` what it needs."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

import sasrecf_tune as st
from sasrecf_tune.inputs.import_settings import ImportSettings
from tests.importing.raw_tables import rows
from tests.support.synthetic_data import muted

__all__ = ["muted"]

FRAME = pd.DataFrame(rows(), columns=["user", "item", "rating", "time"])


def test_the_arguments_are_the_options_of_the_command() -> None:
    arguments = set(inspect.signature(st.import_data).parameters)
    assert arguments == {each.name for each in fields(ImportSettings)} | {"interactions", "dry_run"}


def test_what_tune_needs() -> None:
    items = pd.DataFrame({"item": [str(item) for item in range(1, 13)], "kind": ["a", "b"] * 6})
    data = st.import_data(FRAME, "data/shop", items=items)
    assert (data.dataset, data.data_path, data.config_files) == (
        "shop",
        Path("data"),
        Path("data/shop/shop.yaml"),
    )
    assert data.selected_features == ("kind",) and data.summary["interactions"] == len(FRAME)
    assert data.config_files.is_file()


def test_errors_name_arguments() -> None:
    with pytest.raises(st.InputError, match="or leave these rows out: drop missing"):
        st.import_data(FRAME.assign(item=FRAME["item"].where(FRAME.index > 0)), "data/x")
    with pytest.raises(st.InputError, match="out: the data set needs a name"):
        st.import_data(FRAME)
    assert not Path("data").exists()


def test_a_dry_run_writes_nothing() -> None:
    assert st.import_data(FRAME, "data/x", dry_run=True).summary["written"] is False
    assert not Path("data").exists()
