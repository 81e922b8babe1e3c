"""Models of several seeds whose scores are averaged."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import sasrecf_tune as st
from sasrecf_tune.report.formats.model_card import model_card
from sasrecf_tune.storage.model_directory import ModelDirectory
from tests.inference.test_recommender import ordered_histories
from tests.support.final_models import FEATURES, fitted
from tests.support.synthetic_data import data, muted

__all__ = ["data", "muted"]

SEEDS = (5, 6, 7)
BPR: dict[str, Any] = {
    "loss_type": "BPR",
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
}


def table_of(model: st.Model) -> pd.DataFrame:
    """The scores of all users and items; those of seen items, too."""
    found = model.recommend(top=10_000, include_seen=True)
    return found.pivot_table(index="user", columns="item", values="score")


def ranks(scores: pd.DataFrame, targets: dict[str, str]) -> np.ndarray[Any, Any]:
    return np.array([(scores.loc[user] > scores.loc[user, item]).sum() + 1 for user, item in targets.items()])


@pytest.fixture(scope="module")
def ensemble(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "model"
    changes: dict[str, Any] = FEATURES | {"epochs": 2}
    fitted(data, path, seeds=SEEDS, **changes)
    return path


@pytest.mark.parametrize(
    ("engine", "seeds", "changes"), [("fast", SEEDS, FEATURES), ("recbole", SEEDS[:2], FEATURES | BPR)]
)
def test_scores_and_metrics_are_those_of_the_mean_of_the_single_models(
    data: Path, tmp_path: Path, engine: str, seeds: tuple[int, ...], changes: dict[str, Any]
) -> None:
    changes = changes | {"epochs": len(seeds) - 1, "n_layers": 1}
    together = fitted(data, tmp_path / "all", engine=engine, seeds=seeds, **changes)
    singles = [fitted(data, tmp_path / str(seed), engine=engine, seed=seed, **changes) for seed in seeds]
    manifest = ModelDirectory(tmp_path / "all").read_manifest()
    assert [(each.seed, each.valid, each.test) for each in manifest.members] == [
        (seed, each.valid, each.test) for seed, each in zip(seeds, singles, strict=True)
    ]
    assert (manifest.valid, manifest.test) == (together.valid, together.test)
    models = [st.load_model(tmp_path / str(seed)) for seed in seeds]
    mean = np.mean([table_of(model).to_numpy() for model in models], axis=0)
    found = table_of(st.load_model(tmp_path / "all"))
    np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-6)

    # The test metric from the files alone: the rank of each user's last item.
    histories = {user: items for user, items in ordered_histories(data).items() if len(items) >= 3}
    given = {user: items[:-1] for user, items in histories.items()}
    parts = [
        model.recommend(given, top=10_000, include_seen=True).pivot_table(
            index="user", columns="item", values="score"
        )
        for model in models
    ]
    total = functools.reduce(pd.DataFrame.add, parts)
    places = ranks(total, {user: items[-1] for user, items in histories.items()})
    expected = np.where(places <= 10, 1 / places, 0).mean()
    assert together.test["mrr@10"] == pytest.approx(expected, abs=6e-5)


def test_item_vectors_of_an_ensemble_are_those_of_its_models_side_by_side(ensemble: Path) -> None:
    vectors = st.load_model(ensemble).item_vectors()
    own = [
        load_file(path)["item_embedding.weight"][1:]
        for path in ModelDirectory(ensemble).weights_of(len(SEEDS))
    ]
    np.testing.assert_array_equal(vectors.to_numpy(), np.concatenate(own, axis=1))


@pytest.mark.parametrize("on", ["train+valid", "all"])
def test_an_ensemble_has_the_metrics_of_what_is_held_out(data: Path, tmp_path: Path, on: Any) -> None:
    per_user = None if on == "all" else tmp_path / "users"
    result = fitted(data, tmp_path / "model", on, seeds=(1, 2), epochs=1, per_user=per_user)
    manifest = ModelDirectory(tmp_path / "model").read_manifest()
    assert not result.valid and bool(result.test) == (on != "all")
    assert [bool(each.test) for each in manifest.members] == [on != "all"] * 2
    if per_user is not None:
        users = pd.read_csv(tmp_path / "users.test.csv")
        assert users["mrr@10"].mean() == pytest.approx(result.test["mrr@10"], abs=6e-5)


def test_the_card_says_the_seeds_and_the_gain(ensemble: Path) -> None:
    manifest = ModelDirectory(ensemble).read_manifest()
    card = model_card(manifest)
    assert "5, 6, 7: the mean score of 3 models" in card and "weights-2 to weights-3" in card
    alone = np.mean([each.test["mrr@10"] for each in manifest.members])
    gain = manifest.test["mrr@10"] / alone - 1
    assert f"mrr@10 {alone:.4g} (together {gain:+.1%})" in card
    assert "test of single models, mean of 3" in card


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _narrow(path: Path) -> None:
    save_file({name: tensor[..., :1].contiguous() for name, tensor in load_file(path).items()}, path)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, r"weights-3\.safetensors cannot be read"),
        (_cut, r"weights-3\.safetensors is not a safetensors file, or not whole"),
        (_narrow, r"weights-3\.safetensors does not fit the architecture"),
        (_link, r"weights-3\.safetensors"),
    ],
)
def test_a_damaged_model_of_an_ensemble_is_said(
    ensemble: Path, tmp_path: Path, damage: Any, said: str
) -> None:
    path = tmp_path / "copy"
    path.mkdir()
    for file in ensemble.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    damage(path / "weights-3.safetensors")
    with pytest.raises(st.TuneError, match=said):
        st.load_model(path)


def test_a_directory_with_too_many_models_is_refused(ensemble: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.mkdir()
    for file in ensemble.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    content = json.loads((path / "model.json").read_text())
    content["members"] *= 100
    (path / "model.json").write_text(json.dumps(content))
    with pytest.raises(st.TuneError, match="`members` is invalid"):
        st.load_model(path)
