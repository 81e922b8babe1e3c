"""The table of hyperparameters against the files that RecBole itself reads its defaults from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sasrecf_tune.inputs.config_files import _Loader
from sasrecf_tune.inputs.hyperparameters import (
    COMPARABILITY_KEYS,
    DATA_INDEPENDENT_KEYS,
    FUSED_EVALUATION_KEYS,
    FUSION_KEYS,
    MODELS,
    PATH_KEYS,
    TABLE,
    features_of,
)
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.value_checks import check_value
from tests.support.paths import recbole_directory
from tests.support.strategies import exactly

DOCUMENTED: dict[str, Value] = {
    "hidden_size": 64,
    "inner_size": 256,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "selected_features": ["class"],
    "pooling_mode": "sum",
    "loss_type": "CE",
}
RANGES = {
    "hidden_act": {"gelu", "relu", "swish", "tanh", "sigmoid"},
    "pooling_mode": {"max", "mean", "sum"},
    "loss_type": {"BPR", "CE"},
}


def recbole_yaml(*files: str) -> dict[str, Any]:
    """The files' keys, the later file winning, as in RecBole."""
    found: dict[str, Any] = {}
    for name in files:
        text = (recbole_directory() / "properties" / name).read_text(encoding="utf-8")
        found.update(yaml.load(text, Loader=_Loader))
    return found


def test_every_parameter_of_the_documentation_is_tunable_with_its_default() -> None:
    for name, default in DOCUMENTED.items():
        known = TABLE[name]
        assert (known.group, known.tunable) == ("model", "yes")
        assert exactly(known.default) == exactly(default)
    for name, choices in RANGES.items():
        assert set(TABLE[name].choices) == choices
    assert {name for name, known in TABLE.items() if known.group == "model"} == set(DOCUMENTED)


@pytest.mark.parametrize("model", MODELS)
def test_the_models_defaults_are_recboles(model: str) -> None:
    assert exactly(recbole_yaml(f"model/{model}.yaml")) == exactly(
        {
            name: known.default
            for name, known in TABLE.items()
            if known.group == "model" and model in known.models
        }
    )


def test_the_features_of_a_model() -> None:
    assert features_of("SASRecF", {}) == ("class",)
    assert features_of("SASRecF", {"selected_features": ["a", "b"]}) == ("a", "b")
    # RecBole's configuration may hold the key all the same.
    assert features_of("SASRec", {"selected_features": ["a", "b"]}) == features_of("SASRec", {}) == ()


# sequential.yaml, which RecBole reads last for models like SASRecF, has eval_args and repeatable.
GENERAL = recbole_yaml("overall.yaml", "dataset/sample.yaml", "quick_start_config/sequential.yaml")


@pytest.mark.parametrize("name", sorted(GENERAL))
def test_general_defaults_are_recboles(name: str) -> None:
    default = GENERAL[name]
    if name == "eval_args":  # RecBole's code adds the key that sequential.yaml leaves out
        default = {"group_by": "user"} | default
    assert exactly(TABLE[name].default) == exactly(default)


def test_every_key_of_recboles_lists_is_known() -> None:
    from recbole.utils import argument_list

    listed = {
        name
        for kind in ("general", "training", "evaluation", "dataset")
        for name in getattr(argument_list, f"{kind}_arguments")
    }
    assert listed <= set(TABLE)


def test_the_table_has_no_key_that_recbole_does_not_read() -> None:
    ours = set(TABLE) - set(DOCUMENTED) - set(GENERAL)
    source = "".join(path.read_text(encoding="utf-8") for path in recbole_directory().rglob("*.py"))
    assert {name for name in ours if f'"{name}"' not in source and f"'{name}'" not in source} == set()


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_row_is_in_order(name: str) -> None:
    known = TABLE[name]
    assert known.name == name and known.meaning and known.range_text
    assert known.low < known.high
    assert exactly(check_value(name, known.default)) == exactly(known.default)
    assert bool(known.why_not) == (known.tunable != "yes")
    assert not known.choices or all(check_value(name, choice) == choice for choice in known.choices)


def test_range_text() -> None:
    assert TABLE["hidden_size"].range_text == "a whole number of at least 1 and at most 65536"
    assert TABLE["learning_rate"].range_text == "a number above 0 and at most 100"
    assert TABLE["hidden_act"].range_text == "one of gelu, relu, swish, tanh, sigmoid"
    assert TABLE["clip_grad_norm"].range_text == "a mapping {key: value} or None"
    assert TABLE["enable_amp"].range_text == "True or False"


def test_keys_that_cannot_change_the_prepared_data() -> None:
    names = """
    hidden_size inner_size n_layers n_heads hidden_dropout_prob attn_dropout_prob hidden_act
    layer_norm_eps initializer_range selected_features pooling_mode loss_type learning_rate learner
    weight_decay epochs stopping_step eval_step train_batch_size eval_batch_size
    train_neg_sample_args clip_grad_norm loss_decimal_place metric_decimal_place metrics topk
    valid_metric valid_metric_bigger enable_amp enable_scaler shuffle checkpoint_dir show_progress
    state seed gpu_id use_gpu worker reproducibility device single_spec local_rank MODEL_INPUT_TYPE
    eval_type log_wandb wandb_project require_pow valid_neg_sample_args test_neg_sample_args
    save_dataset save_dataloaders dataset_save_path dataloaders_save_path config_file transform tail_ratio
    """
    assert set(names.split()) == DATA_INDEPENDENT_KEYS


def test_keys_that_decide_which_trials_train_and_are_validated_as_one_model() -> None:
    names = """
    model n_layers hidden_size inner_size hidden_act layer_norm_eps selected_features pooling_mode loss_type
    MAX_ITEM_LIST_LENGTH train_batch_size train_neg_sample_args
    """
    assert set(FUSION_KEYS) == set(names.split())
    assert set(FUSED_EVALUATION_KEYS) == {"eval_args", "metrics", "topk"}


def test_keys_that_make_scores_incomparable_in_the_order_of_messages() -> None:
    names = """
    eval_args repeatable user_inter_num_interval item_inter_num_interval val_interval rm_dup_inter threshold
    benchmark_filename USER_ID_FIELD ITEM_ID_FIELD TIME_FIELD
    """
    assert list(COMPARABILITY_KEYS) == names.split()


def test_paths_are_no_part_of_a_checkpoints_identity() -> None:
    # Another set would make every stored checkpoint unusable.
    assert {"checkpoint_dir", "data_path"} == PATH_KEYS
