"""`import_data` has the options of the command, and gives `tune` what it needs."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("dtype", ["string", "string[pyarrow]", "object"])
@pytest.mark.parametrize("column", ["user", "item", "time"])
@pytest.mark.parametrize("stored", [True, False])
def test_missing_values_of_nullable_columns_are_missing(dtype: Any, column: str, stored: bool) -> None:
    texts = FRAME.astype(str)
    frame = texts.assign(**{column: texts[column].where(FRAME.index > 0, pd.NA).astype(dtype)})
    frame.to_parquet("t.parquet")
    data = st.import_data("t.parquet" if stored else frame, "data/x", drop=["missing"])
    assert data.summary["interactions"] == len(FRAME) - 1


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "string", "int64[pyarrow]"])
def test_missing_features_of_nullable_columns_are_missing(dtype: Any) -> None:
    ids = [str(item) for item in range(1, 13)]
    given = pd.Series([None, *([1, 0] * 5), 1]).astype(object)
    values = (given.map({1: "one", 0: "none"}) if dtype == "string" else given).astype(dtype)
    data = st.import_data(FRAME, "data/x", items=pd.DataFrame({"item": ids, "f": values}))
    assert data.selected_features == ("f",)


def test_a_frame_with_several_levels_of_columns_is_understood() -> None:
    frame = FRAME.set_axis(pd.MultiIndex.from_product([FRAME.columns, ["x"]]), axis=1)
    names = {role: f"('{role}', 'x')" for role in ("user", "item", "time")}
    assert st.import_data(frame, "data/x", **names).summary["interactions"] == len(FRAME)  # type: ignore[arg-type]


def test_a_dry_run_writes_nothing() -> None:
    assert st.import_data(FRAME, "data/x", dry_run=True).summary["written"] is False
    assert not Path("data").exists()
