"""Differences between two trained configurations, tested on the same users in pairs.

The interval is the percentile bootstrap of the difference of mean scores: users are drawn with replacement,
each with the difference of its own scores. It asks what other users of the same kind would have, with the
models as they are trained. How much a model changes with its seed it does not ask (see comparison.py). For
many pairs the quantiles lie beyond the draws: the last ones with enough draws beyond them are moved outwards,
as far as those of a normal distribution would be.

Source:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    Smucker, Allan and Carterette, A Comparison of Statistical Significance Tests for IR Evaluation, 2007.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.analysis.confirmation import ALPHA
from sasrecf_tune.analysis.user_scores import GROUPED, UserScores, levels_of
from sasrecf_tune.storage.per_user_files import ITEM, PARTS, POPULARITY, USER, Part

if TYPE_CHECKING:
    import pandas as pd

# Drawn samples of users; the same ones each time.
DRAWS = 10_000
_SEED = 0
# A quantile with fewer draws beyond it is left to chance: it follows from the normal distribution.
_TAIL_DRAWS = 25
# Of fewer users the interval is too narrow.
LEAST_USERS = 20
# Differences within this part of their range count as their mean: the time does not grow with the users.
_STEPS = 1024
# Scores of a user that differ by less are equal: they are means over runs.
_EQUAL = 1e-12
_CELLS = 1 << 22  # of one array of draws


@dataclass(frozen=True)
class UserDifference:
    """How much better `first` is than `second` on the same users.

    Args:
        part: "valid" or "test".
        mean: Difference of their mean scores.
        low, high: Its interval; those of all pairs, or of all groups of a pair, hold at once with 95%.
        users: Number of users.
        better, worse: Number of users for whom `first` has the higher or the lower score.
        by, label: The group, as in `Group`; "" for all users.
    """

    part: Part
    first: str
    second: str
    mean: float
    low: float
    high: float
    users: int
    better: int
    worse: int
    by: str = ""
    label: str = ""

    @property
    def tied(self) -> bool:
        """Whether the interval includes zero, or is of too few users."""
        return self.low <= 0 <= self.high or self.users < LEAST_USERS


def user_differences(users: Mapping[str, UserScores]) -> dict[str, tuple[UserDifference, ...]]:
    """Compare all pairs of configurations, by name, on each part of the data that both have."""
    pairs = list(itertools.combinations(users.items(), 2))
    return {
        part: tuple(found for pair in pairs if (found := user_difference(*pair, part, len(pairs))))
        for part in PARTS
    }


def user_groups(users: Mapping[str, UserScores]) -> tuple[UserDifference, ...]:
    """Compare the first configuration with each other in groups, on test if both have it."""
    first, *others = users.items()
    found: list[UserDifference] = []
    for other in others:
        for part in reversed(PARTS):
            if groups := group_differences(first, other, part):
                found += groups
                break
    return tuple(found)


def user_difference(
    first: tuple[str, UserScores], second: tuple[str, UserScores], part: Part, tests: int = 1
) -> UserDifference | None:
    """Compare two configurations on the users of a part; the better one becomes the first.

    Args:
        first, second: Name and scores.
        tests: How many intervals are to hold at once.

    Returns:
        None if one of them has no scores, or they are not of the same users.
    """
    tables = _same_users(first[1], second[1], part)
    if tables is None:
        return None
    names, key = (first[0], second[0]), first[1].key
    if float(tables[0][key].mean()) < float(tables[1][key].mean()):
        names, tables = names[::-1], tables[::-1]
    return _difference(tables, key, part, names, tests)


def group_differences(
    first: tuple[str, UserScores], second: tuple[str, UserScores], part: Part
) -> list[UserDifference]:
    """Compare two configurations in groups of users and items; empty as `user_difference` returns None."""
    tables = _same_users(first[1], second[1], part)
    if tables is None:
        return []
    by_group: list[tuple[str, str, NDArray[Any]]] = []
    rows = [table[[USER, ITEM]].reset_index(drop=True) for table in tables]
    same_items = rows[0].equals(rows[1])
    for by in GROUPED:
        if same_items or by != POPULARITY:
            labels, levels = levels_of(tables[0][by].to_numpy())
            by_group += [(by, label, levels == level) for level, label in enumerate(labels)]
    found = []
    for by, label, chosen in by_group:
        users = tables[0][USER][chosen]
        other = chosen if same_items else tables[1][USER].isin(users)
        both = tables[0][chosen], tables[1][other]
        names = first[0], second[0]
        found.append(_difference(both, first[1].key, part, names, len(by_group), by, label))
    return found


def _same_users(
    first: UserScores, second: UserScores, part: Part
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The tables of a part with the users as numbers from 0; None if they are not of the same users."""
    import pandas as pd

    tables = first.tables.get(part), second.tables.get(part)
    if tables[0] is None or tables[1] is None:
        return None
    codes, names = pd.factorize(pd.concat([tables[0][USER], tables[1][USER]]))
    both = codes[: len(tables[0])], codes[len(tables[0]) :]
    if any(len(np.unique(each)) < len(names) for each in both):
        return None
    return tables[0].assign(**{USER: both[0]}), tables[1].assign(**{USER: both[1]})


def _difference(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    key: str,
    part: Part,
    names: tuple[str, str],
    tests: int,
    by: str = "",
    label: str = "",
) -> UserDifference:
    # A user may have several held-out items, and the score of all is a mean of items.
    sums, counts = zip(*(_by_user(table, key) for table in tables), strict=True)
    mean = float(sums[0].sum() / counts[0].sum() - sums[1].sum() / counts[1].sum())
    low, high = bootstrap(sums[0] * counts[1] / counts[0] - sums[1], counts[1], ALPHA / tests)
    gaps = sums[0] / counts[0] - sums[1] / counts[1]
    better, worse = int((gaps > _EQUAL).sum()), int((gaps < -_EQUAL).sum())
    return UserDifference(part, *names, mean, low, high, len(gaps), better, worse, by, label)


def _by_user(table: pd.DataFrame, key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sum of the scores of each user and their number, by user."""
    users = table[USER].to_numpy()
    counts = np.bincount(users)
    having = counts > 0
    return np.bincount(users, weights=table[key].to_numpy())[having], counts[having]


def bootstrap(sums: NDArray[Any], counts: NDArray[Any], alpha: float) -> tuple[float, float]:
    """Return the interval of `sums.sum() / counts.sum()` if users are drawn with replacement.

    Args:
        sums: Of each user, [users].
        counts: Number of scores in each sum, [users].
        alpha: Share of the draws that lie outside of the interval.
    """
    step = (sums.max() - sums.min()) / _STEPS
    rounded = np.round(sums / step) if step > 0 else sums
    # Users with the same values are drawn together, which is the same distribution.
    different, place, users = np.unique(
        np.column_stack([rounded, counts]), axis=0, return_inverse=True, return_counts=True
    )
    values = np.column_stack([np.bincount(place.ravel(), weights=sums) / users, different[:, 1]])
    generator = np.random.default_rng(_SEED)
    block = max(1, _CELLS // len(values))
    means = []
    for start in range(0, DRAWS, block):
        drawn = generator.multinomial(len(sums), users / len(sums), size=min(block, DRAWS - start)) @ values
        means.append(drawn[:, 0] / drawn[:, 1])
    tail = max(alpha / 2, _TAIL_DRAWS / DRAWS)
    low, middle, high = np.quantile(np.concatenate(means), [tail, 0.5, 1 - tail])
    # Each side is as much longer as that of a normal distribution would be; 1 unless there are many tests.
    longer = NormalDist().inv_cdf(alpha / 2) / NormalDist().inv_cdf(tail)
    return float(middle + longer * (low - middle)), float(middle + longer * (high - middle))
