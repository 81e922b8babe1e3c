from __future__ import annotations

import pytest

from sasrecf_tune.cli.arguments import parse_gpus, worker_count
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.metrics import Metric, parse_metric, result_keys
from sasrecf_tune.inputs.settings import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("3600", 3600),
        ("0.5h", 1800),
        ("1h 5s", 3605),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "5x", "nan", "inf", "1e400", "h1"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (59, "59s"), (725, "12m 05s"), (12000, "3h 20m"), (187200, "2d 04h")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_metrics_in_any_case() -> None:
    assert parse_metric("mrr@10") == Metric("MRR", 10)
    assert parse_metric("ndcg@5").key == "ndcg@5"
    assert parse_metric("gauc") == Metric("GAUC", None)
    assert not parse_metric("giniindex@10").maximize


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NDGC@10", "did you mean `NDCG`"),
        ("MRR", "needs a cut-off"),
        ("MRR@0", "needs"),
        ("AUC", "unknown metric"),
    ],
)
def test_no_metrics(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_metric(text)


def test_directions_and_names_are_recboles() -> None:
    from recbole.evaluator import metric_types, smaller_metrics
    from recbole.utils import EvaluatorType

    from sasrecf_tune.inputs.metrics import SMALLER_IS_BETTER, WITH_K, WITHOUT_K

    ranking = {name for name, kind in metric_types.items() if kind == EvaluatorType.RANKING}
    ours = {name.lower() for name in (*WITH_K, *WITHOUT_K)}
    assert ours == ranking
    assert set(smaller_metrics) & ranking == SMALLER_IS_BETTER


def test_result_keys() -> None:
    assert result_keys(["Recall", "GAUC"], [5, 10]) == ("recall@5", "recall@10", "gauc")


@pytest.mark.parametrize(
    ("workers", "gpus", "each", "count"),
    [
        *((None, "auto", 1, 1), (None, "none", 1, 1), (None, "0,1", 1, 2), (None, "0,1", 3, 6)),
        *((None, "auto", 2, 2), (4, "0,1", 1, 4), (1, "0,1", 1, 1), (3, "none", 1, 3), (4, "0,1", 2, 4)),
    ],
)
def test_workers_follow_the_cards(workers: int | None, gpus: str, each: int, count: int) -> None:
    assert worker_count(workers, parse_gpus(gpus), each) == count


@pytest.mark.parametrize(
    ("workers", "gpus", "said"),
    [(None, "none", "no card to share"), (3, "0,1", "2 cards with 2 trials each are not 3 workers")],
)
def test_workers_and_cards_at_odds(workers: int | None, gpus: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        worker_count(workers, parse_gpus(gpus), 2)
