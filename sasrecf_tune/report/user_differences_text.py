"""The test of users in pairs, for people and programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.comparison import Comparison
from sasrecf_tune.analysis.user_differences import DRAWS, LEAST_USERS, UserDifference
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.terminal.console import print_line, print_table
from sasrecf_tune.report.text import count_text, visible
from sasrecf_tune.report.user_scores_text import group_name

SEEDS_QUESTION = "Seeds (p): would they differ on the same users if trained again with other seeds?"
USERS_QUESTION = "Users (brackets): would these trained models differ on other users like these?"
# Pairs that are written out, and pairs with a table of groups.
_MOST_PAIRS = 45
_MOST_TABLES = 3
_PLACES = {"valid": "validation", "test": "test"}


def has_users(comparison: Comparison) -> bool:
    """Whether any pair of studies was tested on users."""
    return any(comparison.user_differences.values())


def user_sentences(comparison: Comparison) -> list[str]:
    """Say for each pair which study is better for users; for many studies not for all."""
    lines: list[str] = []
    for part, place in _PLACES.items():
        differences = comparison.user_differences.get(part, ())
        lines += [_sentence(each, place, comparison.metric) for each in differences[:_MOST_PAIRS]]
        if len(differences) > _MOST_PAIRS:
            more = len(differences) - _MOST_PAIRS
            lines.append(f"... and {more:,} more pairs of users on {place}: --format json has all.")
    return lines


def user_group_tables(comparison: Comparison) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, headers and rows for each pair that was compared in groups; not of many pairs."""
    by_pair: dict[tuple[str, str], list[UserDifference]] = {}
    for each in comparison.user_groups:
        by_pair.setdefault((each.first, each.second), []).append(each)
    tables = []
    for (first, second), groups in list(by_pair.items())[:_MOST_TABLES]:
        title = (
            f"Where {first} is better (+) or worse (-) than {second}, {comparison.metric} on "
            f"{_PLACES[groups[0].part]}"
        )
        headers = ["training interactions", "users", "difference", "interval", ""]
        rows = [
            [
                group_name(each.by, each.label),
                f"{each.users:,}",
                _signed(each.mean, comparison.metric),
                _interval(each, comparison.metric),
                _verdict(each),
            ]
            for each in groups
        ]
        tables.append((title, headers, rows))
    return tables


def show_user_groups(comparison: Comparison, console: Console) -> None:
    """Print a table of groups for each pair."""
    for title, headers, rows in user_group_tables(comparison):
        console.print()
        print_line(console, f"{title}:")
        table = Table(pad_edge=False, box=None)
        for number, header in enumerate(headers):
            table.add_column(header, justify="left" if number in (0, 4) else "right", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        print_table(console, table)
    if comparison.user_groups:
        console.print()


def user_warnings(comparison: Comparison) -> list[str]:
    """Say which studies have no usable scores of users, if any has."""
    lines = [visible(text) for each in comparison.entries if each.users for text in each.users.ignored]
    having = [entry for entry in comparison.entries if entry.users and entry.users.tables]
    if not having:
        return lines
    for entry in comparison.entries:
        if entry not in having:
            again = "confirm" if entry.confirmed else "reproduce"
            lines.append(
                f"{entry.name} has no scores of users to pair: sasrecf-tune reproduce {entry.name} --per-user"
                + (f", or {again} with --per-user for all seeds" if entry.confirmed else "")
            )
    tested = {
        name for each in comparison.user_differences.values() for d in each for name in (d.first, d.second)
    }
    lines += [
        f"{entry.name} is not tested on users: its users are not those of the other studies"
        for entry in having
        if len(having) > 1 and entry.name not in tested
    ]
    return lines


def users_note(comparison: Comparison) -> str:
    """Explain the intervals."""
    runs = [
        f"{count_text(max(entry.users.runs.values()), 'run')} of {entry.name}"
        for entry in comparison.entries
        if entry.users and entry.users.runs
    ]
    return (
        f"Brackets: 95% bootstrap interval of the difference, from {DRAWS:,} draws of users in pairs; the "
        "intervals of all pairs, and of all groups of a pair, hold at once. A user's score is the mean of "
        f"{', '.join(runs)}."
    )


def users_content(comparison: Comparison) -> dict[str, Any]:
    """Return the differences for JSON, {} without any."""
    if not has_users(comparison):
        return {}
    return {
        "questions": {"differences": SEEDS_QUESTION, "user_differences": USERS_QUESTION},
        "user_differences": {
            part: [_content(each) for each in differences]
            for part, differences in comparison.user_differences.items()
        },
        "user_groups": [_content(each) for each in comparison.user_groups],
    }


def _content(each: UserDifference) -> dict[str, Any]:
    """As `asdict`, with the names that `differences` has; of a group the first study may be the worse one."""
    values = asdict(each)
    group = {"group": values.pop("by"), "range": values.pop("label")}
    return {
        "part": values.pop("part"),
        **(group if each.by else {}),
        "first": values.pop("first"),
        "second": values.pop("second"),
        "difference": values.pop("mean"),
        "low": values.pop("low"),
        "high": values.pop("high"),
        "users": values.pop("users"),
        "users_better": values.pop("better"),
        "users_worse": values.pop("worse"),
        "tied": each.tied,
    }


def _sentence(each: UserDifference, place: str, metric: Metric) -> str:
    size = f"{_signed(each.mean, metric)} {_interval(each, metric)}"
    users = f"{each.users:,} users, better for {each.better:,}, worse for {each.worse:,}"
    if each.tied:
        return f"On {place} {each.first} and {each.second} are tied for users: {size} ({users})."
    return f"On {place} {each.first} is better than {each.second} for users: {size} ({users})."


def _verdict(each: UserDifference) -> str:
    if each.users < LEAST_USERS:
        return "few users"
    return "" if each.tied else ("better" if each.mean > 0 else "worse")


def _signed(value: float, metric: Metric) -> str:
    text = metric.text(value)
    return text if text.startswith("-") else f"+{text}"


def _interval(each: UserDifference, metric: Metric) -> str:
    return f"[{_signed(each.low, metric)}, {_signed(each.high, metric)}]"
