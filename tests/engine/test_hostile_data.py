"""RecBole neither runs nor fetches what a data set or a study directory of somebody else leads it to."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pandas
import pytest

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Engine, make_config, prepare
from tests.support.synthetic_data import NAME, base, write_data_set


class Running:
    """Creates a directory when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_a_saved_data_set_among_the_checkpoints_is_not_unpickled(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / f"{NAME}-SequentialDataset.pth").write_bytes(pickle.dumps(Running()))
    config = base(write_data_set(tmp_path)) | {"checkpoint_dir": str(checkpoints)}
    assert prepare(make_config(config), engine).dataset.item_num > 1
    assert not (tmp_path / "unpickled").exists()


def test_a_directory_called_like_an_address_is_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("http:/localhost:1").mkdir(parents=True)
    config = base(write_data_set(Path("http:/localhost:1"))) | {"data_path": "http://localhost:1"}
    read: list[str] = []
    real = pandas.read_csv

    def recording(path: str, **options: Any) -> Any:
        read.append(path)
        return real(path, **options)

    monkeypatch.setattr(pandas, "read_csv", recording)
    assert prepare(make_config(config), RECBOLE_ENGINE).dataset.item_num > 1
    assert read and all(Path(path).is_absolute() for path in read)
