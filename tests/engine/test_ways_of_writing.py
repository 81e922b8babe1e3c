"""A config file that is written in RecBole users' ways gives RecBole the data of the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.build_settings import base_settings, chosen_dataset, read_config
from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, build, make_config, prepare
from sasrecf_tune.inputs.params_file import parse
from tests.support.synthetic_data import NAME, muted, write_data_set

__all__ = ["muted"]

FILE = f"""\
dataset: {NAME}
load_col: {{inter: [user_id, item_id, timestamp], item: [item_id, tags]}}
selected_features: tags
RATING_FIELD: ~
LABEL_FIELD: None
POSITION_FIELD: null
HEAD_ENTITY_ID_FIELD: ~
TAIL_ENTITY_ID_FIELD: ~
RELATION_ID_FIELD: ~
ENTITY_ID_FIELD: ~
encoding: None
seq_separator: none
user_inter_num_interval: [5, 9]
item_inter_num_interval: [1, inf]
train_neg_sample_args: None
learner: Adam
topk: '[5, 10]'
hidden_size: '8'
inner_size: 8.0
n_layers: 1
n_heads: 1
"""


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_recbole_takes_them(tmp_path: Path, engine: Engine) -> None:
    write_data_set(tmp_path)
    (tmp_path / "my base.yaml").write_text(FILE)
    (tmp_path / "hyper.test").write_text("learning_rate choice ['1e-3']\n")
    files = [str(tmp_path / "my base.yaml")]
    given: dict[str, Any] = {"dataset": None, "model": None, "data_path": tmp_path / NAME}
    given |= {"config_files": files, "overrides": []}
    config = read_config(given)
    _, base = base_settings(parse("learning_rate choice [0.1]"), config, given)
    names = {"model": "SASRecF", "dataset": chosen_dataset(config, given)}
    written = prepare(make_config(base | names), engine)
    plain = base | names | {"user_inter_num_interval": "[5,9]", "item_inter_num_interval": "[1,inf)"}
    for key in [key for key, value in base.items() if value is None and key != "train_neg_sample_args"]:
        del plain[key]
    expected = prepare(make_config(plain), engine)
    assert written.dataset.user_num == expected.dataset.user_num < 30
    assert [len(split) for split in written.splits] == [len(split) for split in expected.splits]
    built = build(make_config(base | names), written, engine)
    assert type(built.trainer.optimizer).__name__ == "Adam"

    options = ["--data-path", str(tmp_path), "--config-files", files[0]]
    done = CliRunner().invoke(app, ["check", str(tmp_path / "hyper.test"), *options, "--json"])
    assert done.exit_code == 0 and f'"dataset": "{NAME}"' in done.output
