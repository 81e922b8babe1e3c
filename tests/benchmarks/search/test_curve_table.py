"""Tables of recorded learning curves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recbole.utils.utils import early_stopping

from benchmarks.search.curve_table import STOPPING_STEP, early_stop, read_table


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_early_stop_is_recboles(scores: list[int]) -> None:
    best, step, length, at, ended = -1.0, 0, len(scores), 0, False
    for index, score in enumerate(scores):
        best, step, stopped, updated = early_stopping(score, best, step, max_step=STOPPING_STEP)
        at = index if updated else at
        if stopped:
            length, ended = index + 1, True
            break
    assert early_stop(scores) == (length, at, ended)


def test_curves_that_stopped_early_are_read(tmp_path: Path) -> None:
    lines = ["n_layers,seed,epoch,valid_mrr@10,test_mrr@10,seconds"]
    for layers, epochs in ((1, 14), (2, 20)):
        # The best of the first is its third: early stopping ends it 11 epochs later.
        scores = [epoch if layers == 2 or epoch <= 3 else 3 - epoch / 100 for epoch in range(1, epochs + 1)]
        for epoch, score in enumerate(scores, 1):
            best = score == max(scores[:epoch])
            lines.append(f"{layers},7,{epoch},{score},{score / 2 if best else ''},{epoch * layers}")
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "short.json").write_text(json.dumps({"space": "n_layers choice [1, 2]", "epochs": 20}))
    table = read_table(tmp_path / "short.csv.gz")
    assert table.lengths.tolist() == [[14], [20]]
    assert [final.tolist() for final in table.final] == [[[3.0], [20.0]], [[1.5], [10.0]]]
    assert np.isnan(table.valid[0, 0, 14:]).all()
    assert table.epoch_seconds.tolist() == [1.0, 2.0]
