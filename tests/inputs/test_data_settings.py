"""How data settings are written in advice."""

from __future__ import annotations

from typing import Any

import pytest

from sasrecf_tune.errors import ConfigFileError
from sasrecf_tune.inputs.config_files import read_override
from sasrecf_tune.inputs.data_settings import check_combinations, load_col_text


@pytest.mark.parametrize(
    "columns",
    [
        {"inter": "*", "item": ["item_id", "brand"]},
        {"inter": ["user_id", "*"]},
        {"inter": ["2020", "a, b", "yes", "类别"], "item": []},
        {"inter": [f"column_{number}" for number in range(50)]},
    ],
)
def test_advice_about_columns_can_be_followed(columns: dict[str, Any]) -> None:
    assert read_override(load_col_text(columns)) == ("load_col", columns)


def test_the_advice_about_unload_col_keeps_the_other_files() -> None:
    load = {"inter": ["user_id", "item_id"], "item": ["item_id", "brand"]}
    with pytest.raises(ConfigFileError) as caught:
        check_combinations({"load_col": load, "unload_col": {"inter": ["rating"]}})
    assert "load_col={inter: '*', item: [item_id, brand]}" in caught.value.fix
