"""Settings without effect are noted, with what to use; misspelt ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.hyperparameters import MODELS, TABLE
from sasrecf_tune.inputs.name_matching import misspelt
from sasrecf_tune.inputs.unused_settings import effective, has_effect, known_elsewhere, unused_notes
from sasrecf_tune.inputs.validation import check_config


@pytest.mark.parametrize(
    ("config", "notes"),
    [
        ({"epochs": 5, "learning_rate": 0.1}, []),
        (
            {"gpu_id": [0, 1], "use_gpu": False, "worker": 4, "device": "cuda"},
            [
                "`gpu_id`, `use_gpu` and `device` have no effect here; use --gpus",
                "`worker` has no effect here; use --workers",
            ],
        ),
        (
            {"log_wandb": True, "wandb_project": "mine", "show_progress": False, "state": "DEBUG"},
            [
                "`log_wandb` and `wandb_project` have no effect here; use --log wandb",
                "`show_progress` and `state` have no effect here",
            ],
        ),
        (
            {"checkpoint_dir": "x", "saved": True, "nproc": 2, "ip": "localhost", "config_file": None},
            [
                "`checkpoint_dir` and `saved` have no effect here; use --out",
                "`nproc` and `ip` have no effect here; use --workers",
                "`config_file` has no effect here; use --config-files",
            ],
        ),
        (
            {"valid_metric_bigger": True, "RATING_FIELD": None, "kg_reverse_r": "any"},
            [
                "`valid_metric_bigger` has no effect here; use --metric",
                "`RATING_FIELD` and `kg_reverse_r` have no effect: not read by SASRecF",
            ],
        ),
        (
            {"embedding_size": 50, "reg_weight": 0.1, "num_heads": 2, "mask_ratio": 0.2, "nv": 4},
            [
                "`embedding_size` has no effect: only read by other models of RecBole; use hidden_size",
                "`reg_weight` has no effect: only read by other models of RecBole; use weight_decay",
                "`num_heads` has no effect: only read by other models of RecBole; use n_heads",
                "`mask_ratio` and `nv` have no effect: only read by other models of RecBole",
            ],
        ),
        (
            # RecBole before 1.1, other programs, the user's own.
            {
                "split_ratio": [0.8, 0.1, 0.1],
                "lr": 0.1,
                "batch_size": 2,
                "loss_decimal": 3,
                "foo": 1,
                "bar": 2,
            },
            [
                "`split_ratio` has no effect: unknown to RecBole; use eval_args",
                "`lr` has no effect: unknown to RecBole; use learning_rate",
                "`batch_size` has no effect: unknown to RecBole; use train_batch_size",
                "`loss_decimal` has no effect: unknown to RecBole; did you mean `loss_decimal_place`?",
                "`foo` and `bar` have no effect: unknown to RecBole",
            ],
        ),
        (
            {"embeding_size": 64, "batchsize": 8},
            [
                "`embeding_size` has no effect: unknown to RecBole; did you mean hidden_size?",
                "`batchsize` has no effect: unknown to RecBole; did you mean train_batch_size?",
            ],
        ),
    ],
)
def test_notes(config: dict[str, Any], notes: list[str]) -> None:
    assert check_config(config, "x.yaml") == config
    assert unused_notes(config, "SASRecF") == notes
    assert effective(config, "SASRecF") == {key: config[key] for key in config if not notes}


def test_settings_of_the_other_model() -> None:
    config = {"selected_features": ["class"], "n_layers": 1}
    assert unused_notes(config, "SASRecF") == []
    assert unused_notes(config, "SASRec") == ["`selected_features` has no effect: not read by SASRec"]
    assert effective(config, "SASRec") == {"n_layers": 1}


def test_the_values_of_settings_without_effect_are_not_checked() -> None:
    config = {"state": "LOUD", "valid_metric_bigger": "yes", "HEAD_ENTITY_ID_FIELD": None, "foo": {1: 2}}
    assert check_config(config, "x.yaml") == config | {"foo": {"1": 2}}


MISSPELT = {
    "epoks": "epochs",
    "epoch": "epochs",
    "Epochs": "epochs",
    "hiden_size": "hidden_size",
    "hidden_siz": "hidden_size",
    "hiddensize": "hidden_size",
    "lerning_rate": "learning_rate",
    "learningrate": "learning_rate",
    "n_layer": "n_layers",
    "n_head": "n_heads",
    "nheads": "n_heads",
    "inner_sise": "inner_size",
    "hidden_dropout_probs": "hidden_dropout_prob",
    "hiden_dropout_prb": "hidden_dropout_prob",
    "atn_dropout_prob": "attn_dropout_prob",
    "selected_feature": "selected_features",
    "max_item_list_length": "MAX_ITEM_LIST_LENGTH",
    "MAX_ITEM_LIST_LEN": "MAX_ITEM_LIST_LENGTH",
    "user_id_field": "USER_ID_FIELD",
    "TIME_FILED": "TIME_FIELD",
    "train_batchsize": "train_batch_size",
    "stoping_step": "stopping_step",
    "loss_tpye": "loss_type",
    "leaner": "learner",
    "top_k": "topk",
    "metric": "metrics",
    "valid_metrics": "valid_metric",
    "eval_arg": "eval_args",
    "user_inter_num_intervals": "user_inter_num_interval",
    "load_cols": "load_col",
    "seq_lem": "seq_len",
    "wieght_decay": "weight_decay",
    "train_neg_sampel_args": "train_neg_sample_args",
}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_misspelt_settings_are_refused(name: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        check_config({name: 1}, "x.yaml")
    assert caught.value.what == f"unknown setting `{name}`: did you mean `{meant}`?"


OTHERS = """
SESSION_ID_FIELD dataset_name model_name data_name exp_name test_batch_size rating_threshold d_state d_conv
expand embedding_model alpha_mode benchmark notes encoder tokenizer plm_size plm_suffix adaptor_layers
text_path item_emb_path dense_features structured_features temperature lambda seq_encoder num_interests
foo date author hidden_dim num_epochs embedding_dim max_seq_length attention_dropout_prob gpu_ids time
"""


@pytest.mark.parametrize("name", OTHERS.split())
def test_names_that_are_no_misspelling_are_noted(name: str) -> None:
    assert check_config({name: 1}, "x.yaml") == {name: 1}
    (note,) = unused_notes([name], "SASRecF")
    assert note.startswith(f"`{name}` has no effect")


READ = [name for name in TABLE if any(has_effect(name, model) for model in MODELS)]


@given(st.sampled_from(READ), st.integers(0, 30), st.sampled_from("abcxyz"), st.integers(0, 3))
def test_one_wrong_letter_is_a_misspelling(name: str, at: int, letter: str, kind: int) -> None:
    at %= len(name)
    wrong = (
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
        name[:at] + name[at + 1 :],
        name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    )[kind]
    assume(not known_elsewhere(wrong))
    assert misspelt(wrong, READ) is not None


def test_check_notes_settings_of_config_files_and_set(tmp_path: Path) -> None:
    space, config = tmp_path / "lr.test", tmp_path / "shop.yaml"
    space.write_text("learning_rate choice [0.01]\n")
    config.write_text("gpu_id: 3\nuse_gpu: False\nembedding_size: 50\nday: 2020-01-31\n")
    command = ["check", str(space), "--config-files", str(config), "--set", "log_wandb=True"]
    result = CliRunner().invoke(app, command)
    notes = [line.removeprefix("note: ") for line in result.output.splitlines() if line.startswith("note")]
    assert result.exit_code == 0 and notes.pop(0).startswith("ml-100k.inter: timestamp")
    assert notes == [
        "`gpu_id` and `use_gpu` have no effect here; use --gpus",
        "`embedding_size` has no effect: only read by other models of RecBole; use hidden_size",
        "`day` has no effect: unknown to RecBole",
        "`log_wandb` has no effect here; use --log wandb",
    ]
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).output)["notes"][1:] == notes
