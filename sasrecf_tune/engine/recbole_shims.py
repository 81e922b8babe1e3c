"""Makes RecBole 1.2.1 work with numpy 2 and pandas 3.

RecBole's modules get replacements for three of their names. No installed file is changed, numpy and pandas
stay unchanged for other code, and with numpy 1 and pandas 2 nothing is replaced.

Sources: RecBole 1.2.1, config/configurator.py, data/dataset/dataset.py, data/dataset/sequential_dataset.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_dataset
import recbole.data.dataset.sequential_dataset as recbole_sequential
from packaging.version import Version
from recbole.utils import FeatureType

# Names that numpy 2 removed and Config.compatibility_settings reads (configurator.py, line 629).
_NUMPY_1 = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


@contextmanager
def numpy_1_names() -> Iterator[None]:
    """Give numpy the names that version 2 removed, inside the block."""
    missing = {name: kind for name, kind in _NUMPY_1.items() if not hasattr(np, name)}
    for name, kind in missing.items():
        setattr(np, name, kind)
    try:
        yield
    finally:
        for name in missing:
            delattr(np, name)


def patch_pandas_3() -> None:
    """Make RecBole's data set work with pandas 3. Call it once, before any data is read."""
    if Version(pd.__version__).major < 3:
        return
    recbole_dataset.len = recbole_sequential.len = _length
    recbole_dataset.pd = SimpleNamespace(**{**vars(pd), "read_csv": _read_csv})
    original = recbole_dataset.Dataset._fill_nan

    def fill_nan(dataset: Any) -> None:
        _fill_tokens_and_floats(dataset)
        original(dataset)  # fills the sequences

    recbole_dataset.Dataset._fill_nan = fill_nan


def _length(value: Any) -> Any:
    # dataset.py, _remap, line 1217; _normalize and _discretization; sequential_dataset.py, line 163:
    # `column.agg(len)` is the length of each row in pandas 2, and the length of the column in pandas 3.
    return value.map(builtins.len) if isinstance(value, pd.Series) else builtins.len(value)


def _read_csv(*arguments: Any, **options: Any) -> pd.DataFrame:
    # dataset.py, _load_feat, line 501: `df[field].fillna(value="", inplace=True)` fills a copy in pandas 3,
    # and a missing value cannot be split.
    table: pd.DataFrame = pd.read_csv(*arguments, **options)
    for name in table:
        if str(name).endswith("_seq"):
            table[name] = table[name].fillna("")
    return table


def _fill_tokens_and_floats(dataset: Any) -> None:
    # dataset.py, _fill_nan, lines 648 and 650: they fill a copy, too; NaN would reach the model.
    for name in dataset.feat_name_list:
        table = getattr(dataset, name)
        for field in table:
            kind = dataset.field2type[field]
            if kind == FeatureType.TOKEN:
                table[field] = table[field].fillna(value=0)
            elif kind == FeatureType.FLOAT:
                table[field] = table[field].fillna(value=table[field].mean())
