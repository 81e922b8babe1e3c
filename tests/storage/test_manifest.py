"""The commands that manifest.json holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sasrecf_tune.errors import StorageError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest, write_manifest
from sasrecf_tune.storage.manifest_schema import Planned


def test_the_command_that_began_the_study_stays(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*words: str, trains: bool = True) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["sasrecf-tune", *words])
        write_manifest(study_dir, {"study": "study"}, trains=trains)
        return read_manifest(study_dir)

    first = write("run", "--trials", "3")
    assert first["command"] == ["sasrecf-tune", "run", "--trials", "3"] and first["later_commands"] == []
    idle = write("resume", trains=False)
    assert idle | {"updated": ""} == first | {"updated": ""} and idle["updated"] == first["updated"]
    for _ in range(2):
        found = write("resume", "--trials", "5")
    write("run", "--trials", "3")
    assert found["command"] == first["command"]
    assert found["later_commands"] == [["sasrecf-tune", "resume", "--trials", "5"]]
    assert write("resume")["later_commands"] == [*found["later_commands"], ["sasrecf-tune", "resume"]]


SOUND = {
    "format": 1,
    "updated": "2026-11-27T15:26:06+00:00",
    "model": "SASRecF",
    "dataset": "ml-100k",
    "data": {"users": 1, "items": 2, "interactions": 3, "fingerprint": "ab", "metric_keys": ["mrr@10"]},
    "sampler": "grid",
    "pruner": {"name": "none", "warmup": 3},
    "unknown": object,
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON (line 1)"),
        (f'{{"format": 1, "seed": {"9" * 5000}}}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a manifest"),
        ('{"format": 2}', "another version"),
        ('{"format": 1, "seed": -1}', "the value of `seed` is invalid"),
        (f'{{"format": 1, "seed": {2**64}}}', "the value of `seed` is invalid"),
        ('{"format": 1, "seed": true}', "the value of `seed` is invalid"),
        ('{"format": 1, "command": "rm"}', "the value of `command` is invalid"),
        ('{"format": 1, "later_commands": [[1]]}', "the value of `later_commands"),
        ('{"format": 1, "created": 5}', "the value of `created` is invalid"),
        ('{"format": 1, "machine": {"cores": [2]}}', "the value of `machine"),
        ('{"format": 1, "versions": {"torch": 2.1}}', "the value of `versions"),
        ('{"format": 1, "earlier": [{"sampler": "grid"}]}', "is missing"),
        ('{"format": 1, "confirmation": {"seeds": 3}}', "the value of `confirmation.seeds` is invalid"),
        ('{"format": 1, "data": {"threads": "x"}}', "the value of `data.threads` is invalid"),
        ('{"format": 1, "planned_trials": 1.5}', "the value of `planned_trials` is invalid"),
        ('{"format": 1, "identity": 3}', "the value of `identity` is invalid"),
    ],
)
def test_a_damaged_manifest_is_one_message(study_dir: StudyDirectory, text: str, message: str) -> None:
    study_dir.directory.mkdir(exist_ok=True)
    study_dir.manifest.write_text(text)
    with pytest.raises(StorageError) as caught:
        read_manifest(study_dir)
    assert message in caught.value.what and "Expected" not in str(caught.value)
    assert str(study_dir.manifest) == caught.value.where


@pytest.mark.parametrize("key", ["updated", "model", "dataset", "data", "sampler", "pruner"])
def test_a_manifest_without_the_plan_is_one_message(study_dir: StudyDirectory, key: str) -> None:
    study_dir.directory.mkdir(exist_ok=True)
    study_dir.manifest.write_text(json.dumps(SOUND, default=str))
    assert read_manifest(study_dir, Planned)["pruner"]["warmup"] == 3
    study_dir.manifest.write_text(json.dumps({k: v for k, v in SOUND.items() if k != key}, default=str))
    with pytest.raises(StorageError, match=f"`{key}` is missing"):
        read_manifest(study_dir, Planned)
