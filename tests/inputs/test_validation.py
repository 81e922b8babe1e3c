"""A search space and the keys of a configuration against the table of RecBole's keys."""

from __future__ import annotations

import pytest

from sasrecf_tune.errors import InputError, InputErrors, ParamsFileError
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, SearchSpace
from sasrecf_tune.inputs.validation import (
    check_model,
    check_space,
    space_mistakes,
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
    with pytest.raises(ParamsFileError) as caught:
        check_space(space, "SASRec")
    assert str(caught.value) == (
        "hyper.test:2:1: `pooling_mode` and `selected_features` (line 4) are not parameters of SASRec, "
        "but of SASRecF, FDSA and GRU4RecF\n"
        "    pooling_mode choice [sum]\n"
        "    ^\n"
        "Remove these lines. docs/reference/parameters.md lists the parameters."
    )
    check_space(parse("n_layers choice [1]\n"), "SASRec")


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("learning_rate choice [1]\nreg_weight choice [0]", "hyper.test:2:1: `reg_weight` is not a parameter "
            "of SASRecF, but of other models of RecBole, such as HGN, Caser and FOSSIL",
            "Remove the line. SASRecF has weight_decay in place of reg_weight."),
        ("step choice [1]\nn_layers choice [1]\n weight uniform 0,1\nreg_weight choice [0]",
            "hyper.test:1:1: `step`, `weight` (line 3) and `reg_weight` (line 4) are not parameters of "
            "SASRecF, but of GCSAN", "Remove these lines. SASRecF has weight_decay in place of reg_weight. "
            "docs/reference/parameters.md lists the parameters."),
        ("pretrain_epochs choice [50, 100]",
            "`pretrain_epochs` is not a parameter of SASRecF, but of S3Rec and RaCT", "Remove the line."),
        # No model has all of them.
        ("nv choice [1]\nmargin choice [2]", "are not parameters of SASRecF, but of other models of RecBole",
            "Remove these lines. docs/reference/parameters.md lists the parameters."),
        ("dropout_prob choice [0.1]", "`dropout_prob` is not a parameter of SASRecF, but of other models",
            "SASRecF has hidden_dropout_prob and attn_dropout_prob in place of dropout_prob."),
        ("mlp_hidden_size choice ['[64,32,16]']", "`mlp_hidden_size` is not a parameter", "has inner_size"),
        ("kg_reverse_r choice [True]", "`kg_reverse_r` cannot be searched: SASRecF does not read it", ""),
        ("worker choice [1]", "`worker` cannot be searched: it is not a hyperparameter; use --workers", ""),
        ("device choice [cuda]", "`device` cannot be searched: it is not a hyperparameter", "Use --gpus."),
        # Names of RecBole's earlier documentation, of other programs, of nobody.
        ("low_layers_num choice [1]\nl2_weight choice [0]\nhigh_layers_num choice [1]",
            "`low_layers_num`, `l2_weight` (line 2) and `high_layers_num` (line 3) are not parameters of "
            "SASRecF; they look like those of MKR",
            "Remove these lines. SASRecF has weight_decay in place of l2_weight."),
        ("user_layers_dim choice ['[64, 64]']\nitem_layers_dim choice ['[64, 64]']",
            "unknown parameters `user_layers_dim` and `item_layers_dim` (line 2)",
            "docs/reference/parameters.md lists the parameters."),
        ("lr choice [0.1]", "unknown parameter `lr`", "SASRecF has learning_rate in place of lr."),
        ("batch_size choice [64]", "unknown parameter `batch_size`", "SASRecF has train_batch_size in place"),
        ("epoks choice [5]", "unknown parameter `epoks`: did you mean `epochs`?", ""),
        ("foo choice [5]", "unknown parameter `foo`", "docs/reference/parameters.md lists the parameters."),
    ],
)  # fmt: skip
def test_a_name_that_is_not_a_parameter(text: str, what: str, fix: str) -> None:
    with pytest.raises(ParamsFileError) as caught:
        check_space(parse(text, "hyper.test"))
    message = str(caught.value)
    assert what in message.splitlines()[0] and fix in caught.value.fix
    assert message.count("did you mean") == what.count("did you mean") and "--set" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # RecBole's hyper-parameter ranges of AutoInt, RippleNet and DiffRec.
        ("mlp_hidden_size in ['[64,64]','[128,128]']", ["1:1: `mlp_hidden_size` is not a parameter"]),
        (
            "dropout_probs choice [0.1\nn_memory choice [4, 8. 16]",
            ["1:1: `dropout_probs` and `n_memory` (line 2)"],
        ),
        ("time-aware choice [True]", ["1:1: `time-aware` is not a parameter of SASRecF, but of DiffRec"]),
        (
            "learning-rate choice [0.1]",
            ["1:1: unknown parameter `learning-rate`: did you mean `learning_rate`?"],
        ),
        (
            "n_layers in [1, 2]\nk_size in [1]",
            ["1:10: `n_layers` has no kind", "2:1: unknown parameter `k_size`"],
        ),
    ],
)
def test_a_line_to_be_removed_need_not_be_corrected_first(text: str, said: list[str]) -> None:
    with pytest.raises((ParamsFileError, InputErrors)) as caught:
        parse(text, "h.test", space_mistakes)
    mistakes = [str(mistake) for mistake in caught.value.mistakes]
    assert len(mistakes) == len(said)
    assert all(f"h.test:{start}" in mistake for mistake, start in zip(mistakes, said, strict=True))


def test_a_model_that_the_file_is_named_after_comes_first() -> None:
    for source in ("caser.test", "spaces/my_Caser.test"):
        with pytest.raises(ParamsFileError, match="such as Caser, HGN and FOSSIL"):
            check_space(parse("reg_weight choice [0]\n", source))


def test_models() -> None:
    assert check_model("SASRec") == "SASRec"
    for wrong in ("sasrec", "BERT4Rec", ""):
        with pytest.raises(InputError, match="cannot be tuned"):
            check_model(wrong)
