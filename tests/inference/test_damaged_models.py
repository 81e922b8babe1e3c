"""A model directory that is damaged, or was made to do harm, is one message."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

import sasrecf_tune as st
from sasrecf_tune.inference.recommender import Recommender
from sasrecf_tune.report.formats.model_card import model_card
from sasrecf_tune.storage.model_directory import ModelDirectory
from tests.inference.test_recommender import model
from tests.support.synthetic_data import data, muted

__all__ = ["data", "model", "muted"]


def damage_json(key: str, value: object) -> Any:
    def change(model: ModelDirectory) -> None:
        content = json.loads(model.manifest.read_text())
        content[key] = value if not isinstance(value, dict) else content[key] | value
        model.manifest.write_text(json.dumps(content))

    return change


def damage_tensor(name: str, change: Any) -> Any:
    def apply(model: ModelDirectory) -> None:
        path = model.data if name in (tensors := load_file(model.data)) else model.weights
        tensors = load_file(path)
        save_file({**tensors, name: change(tensors[name])}, path)

    return apply


DAMAGE: dict[str, tuple[Any, str]] = {
    "no JSON": (lambda model: model.manifest.write_text("{"), r"model\.json is not JSON"),
    "no format": (damage_json("format", 2), r"model\.json is invalid: the value of `format` is invalid"),
    "huge": (damage_json("architecture", {"hidden_size": 10**9}), "`architecture.hidden_size` is invalid"),
    "other shape": (damage_json("architecture", {"hidden_size": 16}), "does not fit the architecture"),
    "more layers": (damage_json("architecture", {"n_layers": 3}), "does not fit the architecture"),
    "odd heads": (damage_json("architecture", {"n_heads": 3}), "does not fit the architecture"),
    "other feature": (
        damage_json("architecture", {"features": [{"name": "size", "kind": "token", "size": 3}]}),
        "no valid values of the item feature 'size'",
    ),
    "fewer ids": (lambda model: model.ids.write_text('{"users": [], "items": []}'), "has 0 users, not 31"),
    "ids of numbers": (lambda model: model.ids.write_text('{"users": [1], "items": []}'), "json is invalid"),
    "cut": (lambda model: model.weights.write_bytes(model.weights.read_bytes()[:-9]), "or not whole"),
    "empty": (lambda model: model.data.write_bytes(b""), "or not whole"),
    "a pickle": (lambda model: model.weights.write_bytes(b"\x80\x04N."), "or not whole"),
    "missing": (lambda model: model.ids.unlink(), r"ids\.json cannot be read"),
    "a directory": (lambda model: (model.ids.unlink(), model.ids.mkdir()), "is not a regular file"),
    "NaN": (damage_tensor("LayerNorm.bias", lambda old: old * torch.nan), "wrong number in LayerNorm"),
    "doubles": (damage_tensor("LayerNorm.bias", lambda old: old.double()), "wrong number in LayerNorm"),
    "large feature": (damage_tensor("feature.colour", lambda old: old + 99), "item feature 'colour'"),
    "negative feature": (damage_tensor("feature.colour", lambda old: -old), "item feature 'colour'"),
    "foreign item": (damage_tensor("history.items", lambda old: old + 40), "no valid histories"),
    "descending ends": (damage_tensor("history.ends", lambda old: old.flip(0)), "no valid histories"),
    "short ends": (damage_tensor("history.ends", lambda old: old[:-1]), "no valid histories"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_model_is_one_message(model: st.Model, tmp_path: Path, case: str) -> None:
    directory = ModelDirectory(tmp_path / "copy")
    shutil.copytree(model.path, directory.directory)
    damage, said = DAMAGE[case]
    damage(directory)
    with pytest.raises(st.TuneError, match=f"copy: the model is damaged: .*{said}"):
        st.load_model(directory.directory)


def test_a_link_in_a_model_is_refused(model: st.Model, tmp_path: Path) -> None:
    directory = ModelDirectory(tmp_path / "copy")
    shutil.copytree(model.path, directory.directory)
    directory.ids.unlink()
    directory.ids.symlink_to("/etc/passwd")
    with pytest.raises(st.TuneError, match="leads elsewhere"):
        st.load_model(directory.directory)
    with pytest.raises(st.InputError, match="neither a study nor a model directory"):
        st.load_model(tmp_path)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from leaves(each, (*place, key))


ODD: some.SearchStrategy[object] = some.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**70,
        1.5,
        -1e308,
        "",
        "x" * 1000,
        "\x1b[2J",
        "../..",
        [],
        {},
        [[]],
        [1, "a"],
        {"a": 1},
    ]
)


@settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(draw=some.data(), value=ODD)
def test_any_value_in_model_json_is_read_or_refused(
    model: st.Model, draw: some.DataObject, value: object
) -> None:
    copy = ModelDirectory(model.path.parent / "odd")
    if not copy.directory.exists():
        shutil.copytree(model.path, copy.directory)
    content = json.loads(ModelDirectory(model.path).manifest.read_text())
    *place, last = draw.draw(some.sampled_from(list(leaves(content))))
    inner = content
    for key in place:
        inner = inner[key]
    inner[last] = value
    copy.manifest.write_text(json.dumps(content))
    with contextlib.suppress(st.TuneError):
        recommender = Recommender(copy.directory)
        assert recommender.histories is not None
        list(recommender.recommend(recommender.histories.part(0, 2), 3))
        model_card(recommender.manifest)
