"""The settings that RecBole knows, and those that a run of SASRecF reads, by RecBole's sources."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from sasrecf_tune.engine.recbole import make_config
from sasrecf_tune.inputs.config_files import _Loader
from sasrecf_tune.inputs.hyperparameters import MODELS, TABLE
from sasrecf_tune.inputs.other_names import NOT_SETTINGS, OURS
from sasrecf_tune.inputs.recbole_keys import models_with, recbole_keys
from sasrecf_tune.inputs.search_space import Choice
from sasrecf_tune.inputs.unused_settings import has_effect, unused_notes
from sasrecf_tune.inputs.validation import check_config, space_mistakes
from tests.support.paths import recbole_directory


def test_all_settings_of_recbole_are_known() -> None:
    config = make_config({"model": "SASRecF", "dataset": "ml-100k", "train_neg_sample_args": None})
    assert set(config.internal_config_dict) <= recbole_keys()
    assert {name for names in config.parameters.values() for name in names} <= recbole_keys()
    assert set(TABLE) <= recbole_keys()


# The code that runs for SASRecF and SASRec: files of RecBole, and classes or functions in them.
_RUN = {
    "config/configurator.py": "Config",
    "data/dataset/dataset.py": "Dataset",
    "data/dataset/sequential_dataset.py": "SequentialDataset",
    "data/dataloader/abstract_dataloader.py": "AbstractDataLoader NegSampleDataLoader",
    "data/dataloader/general_dataloader.py": "TrainDataLoader NegSampleEvalDataLoader FullSortEvalDataLoader",
    "data/transform.py": "construct_transform",
    "data/utils.py": "create_dataset create_samplers get_dataloader data_preparation",
    "evaluator/base_metric.py": "*",
    "evaluator/collector.py": "*",
    "evaluator/evaluator.py": "*",
    "evaluator/metrics.py": "*",
    "evaluator/register.py": "*",
    "model/abstract_recommender.py": "AbstractRecommender SequentialRecommender",
    "model/sequential_recommender/sasrec.py": "*",
    "model/sequential_recommender/sasrecf.py": "*",
    "quick_start/quick_start.py": "run_recbole",
    "sampler/sampler.py": "*",
    "trainer/trainer.py": "AbstractTrainer Trainer",
    "utils/logger.py": "*",
}
# Read by RecBole, but decided here, computed by RecBole, or for a message only.
_DECIDED = {
    *("MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank"),
    *("valid_metric_bigger", "valid_neg_sample_args", "test_neg_sample_args"),
    *("nproc", "world_size", "ip", "port", "offset", "gpu_id", "use_gpu", "worker"),
    *("state", "show_progress", "verbose", "reg_weight", "transform"),
    *("checkpoint_dir", "save_dataset", "dataset_save_path", "save_dataloaders"),
}
# Keys within a setting, such as eval_args, not settings.
_PARTS = {"mode", "split", "order", "group_by", "alpha", "distribution"}
# Read under a name that the code puts together.
_COMPOSED = {"alias_of_user_id", "alias_of_item_id"}


def read_by_a_run() -> set[str]:
    """The settings that RecBole's code for SASRecF reads."""
    found = set(_COMPOSED)
    for file, names in _RUN.items():
        for part in ast.parse((recbole_directory() / file).read_text(encoding="utf-8")).body:
            if names != "*" and getattr(part, "name", "") not in names.split():
                continue
            for node in ast.walk(part):
                if isinstance(node, ast.Subscript) and "config" in ast.unparse(node.value):
                    found |= {key for key in [getattr(node.slice, "value", None)] if isinstance(key, str)}
    return found - _PARTS


def test_the_settings_with_an_effect_are_those_that_recboles_code_for_the_models_reads() -> None:
    read = read_by_a_run()
    assert read >= _DECIDED and {"hidden_size", "load_col", "epochs", "topk"} <= read
    ours = {key for key in TABLE if any(has_effect(key, model) for model in MODELS)}
    assert ours == read - _DECIDED


def test_the_models_that_a_file_looks_like() -> None:
    assert models_with(["step", "weight", "reg_weight"]) == ("GCSAN",)
    assert models_with(["pretrain_epochs"]) == ("S3Rec", "RaCT")
    assert models_with(["selected_features", "pooling_mode"])[0] == "SASRecF"
    # Sequential models first, and before them those that also have the other names.
    assert models_with(["reg_weight"])[:2] == ("HGN", "Caser")
    assert models_with(["reg_weight"], ["nv", "learning_rate"])[0] == "Caser"
    assert models_with(["reg_weight"], ["n_layers"])[:2] == ("GCSAN", "SpectralCF")
    assert models_with(["my_own"]) == ()


def test_names_in_place_of_others_are_settings_with_an_effect_or_options() -> None:
    assert not set(OURS) & set(NOT_SETTINGS)
    for name, instead in OURS.items():
        assert name not in TABLE, name
        assert instead.startswith("--") or all(
            has_effect(key, "SASRecF") for key in instead.split(" and ")
        ), name


# ---- All settings of all models ----

FILES = [
    file for file in sorted((recbole_directory() / "properties").rglob("*.yaml")) if "url" not in file.name
]


def settings_in(file: Path) -> dict[str, Any]:
    """What RecBole's file gives, with our values of our settings: other models take others."""
    given = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader) or {}
    return {key: TABLE[key].default if key in TABLE else value for key, value in given.items()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_setting_of_any_model_is_refused_or_taken_silently(file: Path) -> None:
    config = check_config(settings_in(file), file.name)
    for model in MODELS:
        notes = unused_notes(config, model)
        for key in config:
            assert has_effect(key, model) != any(f"`{key}`" in note for note in notes), key
    said = " ".join(unused_notes(config, "SASRecF"))
    assert "unknown" not in said and "did you mean" not in said


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_params_file_of_any_model_is_refused_once(file: Path) -> None:
    names = [key for key in settings_in(file) if not has_effect(key, "SASRecF") and key not in TABLE]
    found = space_mistakes([Choice(name, (1,)) for name in names])
    assert len(found) == bool(names)
    for mistake in found:
        assert all(f"`{name}`" in mistake.what for name in names)
        assert "did you mean" not in str(mistake) and "--set" not in str(mistake)
        assert file.parent.name != "model" or file.stem in models_with(names)
