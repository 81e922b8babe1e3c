"""What is recorded: random points of a space, and a data set from a known process."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.search.random_points import random_points
from sasrecf_tune.inputs.params_file import parse
from tests.support.benchmark import run_benchmark


def test_random_points_are_in_the_space_and_more_of_them_begin_with_the_same() -> None:
    space = parse(
        "learning_rate log 0.0005,0.02\nhidden_dropout_prob quniform 0.0,0.7,0.1\n"
        "weight_decay loguniform -12,-6\nn_layers int 1,3\nhidden_size choice [32, 64]\n"
    )
    points = random_points(space, 40, seed=3)
    assert all(parameter.contains(point[parameter.name]) for point in points for parameter in space)
    assert random_points(space, 10, seed=3) == points[:10]
    assert len({point["learning_rate"] for point in points}) > 30


def test_synthetic_data_is_a_data_set_of_recbole_with_a_known_best_score(tmp_path: Path) -> None:
    done = run_benchmark("search.synthetic_data", "one", "--users", 40, "--items", 20, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run_benchmark("search.synthetic_data", "two", "--users", 40, "--items", 20, cwd=tmp_path)
    lines = (tmp_path / "one" / "synthetic" / "synthetic.inter").read_text().splitlines()
    assert len(lines) == 1 + 40 * 8
    one, two = (
        {file.name: file.read_bytes() for file in tmp_path.glob(f"{name}/*/*")} for name in ("one", "two")
    )
    assert set(one) == {"synthetic.inter", "synthetic.item"} and one == two
    assert 0.2 < json.loads(done.stdout)["best_possible_test_mrr@10"] < 1
