"""RecBole's metrics: names, direction, how a user writes them ("NDCG@10"), and which go together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sasrecf_tune.errors import ConfigFileError, InputError, suggest
from sasrecf_tune.trials import score_text

# Those of EvaluatorType.RANKING, of each user's ranked items (recbole/evaluator/metrics.py).
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
# Those that RecBole computes for each user and averages, and that differ between users.
PER_USER = ("Hit", "MRR", "MAP", "Recall", "NDCG", "Precision")
# Those of EvaluatorType.VALUE, of the scores of all targets and their sampled candidates together.
VALUE = ("AUC", "RMSE", "MAE", "LogLoss")
SMALLER_IS_BETTER = frozenset({"averagepopularity", "giniindex", "rmse", "mae", "logloss"})
# RecBole's default of metric_decimal_place.
DECIMALS = 4


@dataclass(frozen=True)
class Metric:
    """A metric, its cut-off `k` (None for those without one), and the decimals that RecBole rounds it to."""

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


def parse_metric(text: str, where: str = "--metric") -> Metric:
    """The metric that `text` names, in upper or lower case; `where` it is given.

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
        Write for example MRR@10.
    """
    name, _, cutoff = text.strip().partition("@")
    known = {known.lower(): known for known in (*RANKING, *VALUE)}
    proper = known.get(name.lower())
    if proper is None:
        hint = suggest(name, known.values()) or f"; the metrics are {', '.join(known.values())}"
        raise InputError(f"unknown metric `{name}`{hint}", where=where)
    if proper not in WITH_K:
        return Metric(proper, None)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", cutoff):
        raise InputError(f"`{text}` needs a cut-off", where=where, fix=f"Write for example {proper}@10.")
    return Metric(proper, int(cutoff))


def result_keys(metrics: Iterable[str], topk: Iterable[int]) -> tuple[str, ...]:
    """The keys of RecBole's result for `metrics` and `topk`, in RecBole's order."""
    cutoffs, without_k = tuple(topk), {name.lower() for name in (*WITHOUT_K, *VALUE)}
    return tuple(
        key
        for name in map(str.lower, metrics)
        for key in ([name] if name in without_k else [f"{name}@{k}" for k in cutoffs])
    )


def per_user_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Those of RecBole's `keys` that are averages over users, in their order."""
    names = {name.lower() for name in PER_USER}
    return tuple(key for key in keys if key.partition("@")[0] in names)


def check_per_user(metrics: Iterable[str]) -> None:
    """Check that `--per-user` has a metric to write.

    Raises:
        InputError: None of `metrics` is an average over users.
    """
    names = list(metrics)
    if not per_user_keys(map(str.lower, names)):
        raise InputError(
            f"no metric of this study is an average over users: {', '.join(names)}",
            where="--per-user",
            fix=f"The metrics of a user are {', '.join(PER_USER)}.",
        )


def check_kinds(metrics: Iterable[str], eval_args: Mapping[str, Any]) -> None:
    """Check that RecBole can compute all `metrics` in one evaluation.

    Raises:
        ConfigFileError: Metrics of both kinds, or metrics of VALUE where all items are ranked.

    Source: recbole/config/configurator.py, _set_default_parameters.
    """
    names = {name.lower() for name in metrics}
    values, ranking = (", ".join(name for name in kind if name.lower() in names) for kind in (VALUE, RANKING))
    if values and ranking:
        raise ConfigFileError(
            f"RecBole cannot compute {values} together with {ranking}",
            where="metrics",
            fix="Set metrics to one kind, and select by one of them: --set metrics=[AUC] --metric AUC.",
        )
    mode = eval_args.get("mode", "full")
    modes = set(mode.values() if isinstance(mode, Mapping) else [mode])
    if values and (not modes or "full" in modes):
        raise ConfigFileError(
            f"{values} cannot be computed where all items are ranked (mode full of eval_args): there are no "
            "sampled candidates to compare a target with",
            where="eval_args",
            fix="Use GAUC, which ranks all items. Or sample candidates, for example: --set "
            '"eval_args={split: {LS: valid_and_test}, order: TO, group_by: user, mode: uni100}".',
        )
