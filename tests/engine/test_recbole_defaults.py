"""What is read of RecBole's property files is what RecBole's own Config makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.engine.recbole import make_config
from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.recbole_defaults import complete_config, defaults
from tests.support.synthetic_data import muted

__all__ = ["muted"]

# What RecBole computes from other settings, or is forced for a worker.
COMPUTED = {
    *("MODEL_INPUT_TYPE", "MODEL_TYPE", "device", "eval_type", "gpu_id", "local_rank", "show_progress"),
    *("single_spec", "test_neg_sample_args", "valid_neg_sample_args", "train_neg_sample_args", "data_path"),
}


@pytest.mark.parametrize("model", ["SASRecF", "SASRec"])
@pytest.mark.parametrize("dataset", ["ml-100k", "shop"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eval_args": {"order": "TO"}},
        {"load_col": None, "topk": [5, 10], "learning_rate": 1e-3, "metrics": ["NDCG"]},
    ],
)
def test_the_complete_configuration(model: str, dataset: str, settings: dict[str, Any]) -> None:
    config = {"model": model, "dataset": dataset, "train_neg_sample_args": None, **settings}
    ours, recbole = complete_config(config), make_config(config)
    mode = ours["eval_args"]["mode"]
    assert recbole["eval_args"] == ours["eval_args"] | {"mode": {"valid": mode, "test": mode}}
    for key in {*ours, *recbole.final_config_dict} - COMPUTED - {"eval_args"}:
        assert ours.get(key) == recbole[key], key


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "{outside}/evil", "a" * 5000])
def test_a_name_that_no_data_set_has_reads_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.yaml").write_text("[")
    name = name.format(outside=f"{'../' * 30}{tmp_path}")
    assert defaults("SASRecF", name) == defaults("SASRecF", "none")
    with pytest.raises(DataError):
        locate(name, str(tmp_path))
