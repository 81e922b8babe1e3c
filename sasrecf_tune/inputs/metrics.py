"""RecBole's ranking metrics: names, direction, and how a user writes them ("NDCG@10")."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sasrecf_tune.errors import InputError, suggest
from sasrecf_tune.trials import score_text

# Those of EvaluatorType.RANKING, the only kind that full ranking can compute (recbole/evaluator/metrics.py).
WITH_K = (
    "Hit",
    "MRR",
    "MAP",
    "Recall",
    "NDCG",
    "Precision",
    "ItemCoverage",
    "AveragePopularity",
    "ShannonEntropy",
    "GiniIndex",
    "TailPercentage",
)
WITHOUT_K = ("GAUC",)
RANKING = (*WITH_K, *WITHOUT_K)
# Those of EvaluatorType.VALUE: RecBole computes them from sampled candidates, and without those of RANKING.
VALUE = ("AUC", "RMSE", "MAE", "LogLoss")
SMALLER_IS_BETTER = frozenset({"averagepopularity", "giniindex"})
# RecBole's default of metric_decimal_place.
DECIMALS = 4


@dataclass(frozen=True)
class Metric:
    """A metric, its cut-off `k` (None for GAUC), and the decimals that RecBole rounds it to."""

    name: str
    k: int | None
    decimals: int = field(default=DECIMALS, compare=False, repr=False)

    @property
    def key(self) -> str:
        """RecBole's key in a result, such as "mrr@10"."""
        return str(self).lower()

    @property
    def maximize(self) -> bool:
        """Whether a larger value is better."""
        return self.name.lower() not in SMALLER_IS_BETTER

    @property
    def unit(self) -> float:
        """The unit that RecBole rounds its values to, such as 1e-4."""
        return float(10.0**-self.decimals)

    def text(self, value: float | None) -> str:
        """A value with its decimals; "-" for None."""
        return score_text(value, self.decimals)

    def bound_text(self, value: float) -> str:
        """A margin of error, rounded up, so that it is never 0."""
        return self.text(max(1, math.ceil(value / self.unit - 1e-9)) * self.unit)

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


def parse_metric(text: str) -> Metric:
    """The metric that `text` names, in upper or lower case.

    Raises:
        InputError: no such metric, or no cut-off where one is needed.

    Example:
        >>> parse_metric("mrr@10")
        Metric(name='MRR', k=10)
        >>> parse_metric("NDCG@10").key
        'ndcg@10'
        >>> parse_metric("MRR")
        Traceback (most recent call last):
        sasrecf_tune.errors.InputError: --metric: `MRR` needs a cut-off
        Write for example --metric MRR@10.
    """
    name, _, cutoff = text.strip().partition("@")
    known = {known.lower(): known for known in RANKING}
    proper = known.get(name.lower())
    if proper is None:
        hint = suggest(name, known.values()) or f"; the metrics are {', '.join(known.values())}"
        raise InputError(f"unknown metric `{name}`{hint}", where="--metric")
    if proper in WITHOUT_K:
        return Metric(proper, None)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", cutoff):
        raise InputError(
            f"`{text}` needs a cut-off", where="--metric", fix=f"Write for example --metric {proper}@10."
        )
    return Metric(proper, int(cutoff))


def result_keys(metrics: Iterable[str], topk: Iterable[int]) -> tuple[str, ...]:
    """The keys of RecBole's result for `metrics` and `topk`, in RecBole's order."""
    cutoffs, without_k = tuple(topk), {name.lower() for name in WITHOUT_K}
    return tuple(
        key
        for name in map(str.lower, metrics)
        for key in ([name] if name in without_k else [f"{name}@{k}" for k in cutoffs])
    )
