"""Settings that RecBole knows and settings without effect."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.engine.recbole import make_config
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.recbole_keys import recbole_keys, without_effect


def test_all_settings_of_recbole_are_known() -> None:
    config = make_config({"model": "SASRecF", "dataset": "ml-100k", "train_neg_sample_args": None})
    assert {name for name in config.internal_config_dict if "-" not in name} <= recbole_keys()
    assert {name for names in config.parameters.values() for name in names} <= recbole_keys()
    assert set(TABLE) <= recbole_keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [("lr", "`lr`, so it has no effect"), ("loss_decimal", "no effect: did you mean `loss_decimal_place`?")],
)
def test_unknown_settings_are_reported(name: str, message: str, tmp_path: Path) -> None:
    assert [message in note for note in without_effect(["epochs", name])] == [True]
    space = tmp_path / "hyper.test"
    space.write_text("learning_rate choice [0.01, 0.001]\n")
    (tmp_path / "own.yaml").write_text(f"{name}: 3\n")
    result = CliRunner().invoke(app, ["check", str(space), "--config-files", str(tmp_path / "own.yaml")])
    assert result.exit_code == 0 and message in result.output
