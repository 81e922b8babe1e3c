"""A search space and the keys of a configuration against the table of RecBole's keys."""

from __future__ import annotations

import pytest

from sasrecf_tune.errors import ConfigFileError, InputError, InputErrors, ParamsFileError
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, SearchSpace
from sasrecf_tune.inputs.validation import (
    check_keys,
    check_model,
    check_space,
)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("hiden_size choice [32]", 1, "unknown parameter `hiden_size`: did you mean `hidden_size`?"),
        ("  zzz choice [32]", 3, "unknown parameter `zzz`"),
        ("valid_metric choice ['MRR@10']", 1, "cannot be searched"),
        ("eval_batch_size choice [1, 2]", 1, "Give all trials one value"),
        ("n_layers choice [1, 2, 0]", 24, "not 0"),
        ("n_layers choice [1, 2.5]", 21, "not 2.5"),
        ("n_layers choice [1, x]", 21, "not 'x'"),
        ("n_layers int 0,3", 14, "not 0"),
        ("n_layers uniform 1,3", 18, "Write: n_layers int 1,3"),
        ("n_layers uniform 0.1,0.9", 18, "Write: n_layers int 1,2"),
        ("n_layers quniform 1,3,0.5", 19, "takes whole numbers"),
        ("n_layers log 1,8", 14, "takes whole numbers"),
        ("hidden_act uniform 0,1", 20, "not a range"),
        ("hidden_act int 0,1", 16, "Write for example: hidden_act choice ['gelu', 'relu']"),
        ("hidden_dropout_prob uniform 0,1.1", 29, "not 1.1"),
        ("hidden_dropout_prob quniform 0,0.9,0.4", 30, None),
        ("hidden_dropout_prob quniform 0,1,0.6", 30, "not 1.2"),
        ("learning_rate loguniform 0.0001,0.1", 26, None),
        ("learning_rate loguniform 1,5", 26, "not 148"),
        ("learning_rate uniform 0,1", 23, "above 0"),
    ],
)
def test_a_space_is_checked_at_the_place(text: str, column: int, said: str | None) -> None:
    space = parse(text)
    if said is None:
        check_space(space)
        return
    with pytest.raises(ParamsFileError) as caught:
        check_space(space)
    assert said in str(caught.value)
    assert caught.value.at is not None and caught.value.at.column == column, str(caught.value)


def test_what_may_be_searched_and_what_may_only_be_fixed() -> None:
    for name, known in TABLE.items():
        several = SearchSpace((Choice(name, (known.default, "another value")),))
        if known.tunable != "yes":
            with pytest.raises(ParamsFileError, match="cannot be searched"):
                check_space(several)
        one = SearchSpace((Choice(name, (known.default,)),))
        if known.tunable == "no":
            with pytest.raises(ParamsFileError, match="cannot be searched"):
                check_space(one)
        else:
            check_space(one)


def test_a_params_file_of_the_other_model_says_which_lines_do_not_fit() -> None:
    text = "n_layers choice [1]\npooling_mode choice [sum]\n\nselected_features choice [[class]]\n"
    space = parse(text, "hyper.test")
    check_space(space, "SASRecF")
    with pytest.raises(InputErrors) as caught:
        check_space(space, "SASRec")
    first, second = map(str, caught.value.mistakes)
    assert first.startswith("hyper.test:2:1: `pooling_mode` is not a parameter of SASRec")
    assert second.startswith("hyper.test:4:1: `selected_features` is not a parameter of SASRec")
    assert "Remove the line, or give SASRec a params file of its own." in first
    check_space(parse("n_layers choice [1]\n"), "SASRec")


def test_settings_of_the_other_model_and_other_models() -> None:
    check_keys(["selected_features", "n_layers", "a_setting_of_mine"], "SASRecF", "--set")
    check_keys(["n_layers", "a_setting_of_mine"], "SASRec", "--set")
    with pytest.raises(
        ConfigFileError, match="--set: `selected_features` is not a parameter of SASRec"
    ) as caught:
        check_keys(["n_layers", "selected_features"], "SASRec", "--set")
    assert "Leave it out. If a config file is for both models" in caught.value.fix
    assert check_model("SASRec") == "SASRec"
    for wrong in ("sasrec", "BERT4Rec", ""):
        with pytest.raises(InputError, match="cannot be tuned"):
            check_model(wrong)
