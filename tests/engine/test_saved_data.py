"""Data sets that RecBole has saved, or somebody else in their name, are never unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, make_config, prepare
from tests.support.synthetic_data import NAME, base, muted, write_data_set

__all__ = ["muted"]


class _Program:
    def __reduce__(self) -> tuple[object, ...]:
        return Path("was-run").touch, ()


@pytest.mark.parametrize("config", [{}, {"checkpoint_dir": "checkpoints"}], ids=["default", "checkpoints"])
def test_a_saved_data_set_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = Path(config.get("checkpoint_dir", "saved"))
    directory.mkdir()
    (directory / f"{NAME}-SequentialDataset.pth").write_bytes(pickle.dumps(_Program()))
    data = write_data_set(tmp_path)
    assert len(prepare(make_config(base(data) | config), RECBOLE_ENGINE).splits[0])
    assert not Path("was-run").exists()
