"""The scores of groups of users and items in a report, for people and programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.analysis.user_scores import GROUPED, UserScores, groups_of, users_of
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.terminal.console import print_line, print_table
from sasrecf_tune.report.text import count_text, markdown_table, markdown_text, visible
from sasrecf_tune.storage.per_user_files import PARTS, Part


def group_name(by: str, label: str) -> str:
    """Such as "history 20 to 49"."""
    return f"{GROUPED[by]} {label}"


def users_heading(data: ReportData) -> str:
    """Say of which users and runs the scores are, "" without any."""
    scores = data.users
    if scores is None or not scores.tables or data.winner is None:
        return ""
    part: Part = "test" if "test" in scores.tables else "valid"
    counted = (
        f"{count_text(users_of(scores, part), 'user')}, over {count_text(max(scores.runs.values()), 'run')}"
    )
    return f"Users and items of trial {data.winner.trial}: mean {data.metric} of {counted}"


def users_table(scores: UserScores, metric: Metric) -> tuple[list[str], list[list[str]]]:
    """Return headers, and a row for each group."""
    groups = groups_of(scores)
    by_part = {part: {(each.by, each.label): each for each in groups.get(part, ())} for part in PARTS}
    having = [part for part in PARTS if by_part[part]]
    headers = ["training interactions", "held out", *(f"{part} {metric}" for part in having), "median rank"]
    rows = []
    for place in dict.fromkeys(place for part in reversed(having) for place in by_part[part]):
        found = [by_part[part].get(place) for part in having]
        shown = [group for group in found if group is not None][-1]
        scored = [metric.text(None if group is None else group.score) for group in found]
        rows.append([group_name(*place), f"{shown.count:,}", *scored, f"{shown.rank:,.1f}"])
    return headers, rows


def users_note(scores: UserScores) -> str:
    """Explain the columns."""
    last = "test" if "test" in scores.tables else "validation"
    return (
        f"Held out and rank: of the {last} part. Groups have about equally many held-out items. History and "
        "popularity count interactions of the training part."
    )


def show_users(data: ReportData, console: Console) -> None:
    """Print the table of groups, and what could not be used."""
    if data.users is None:
        return
    console.print()
    if data.users.tables:
        print_line(console, users_heading(data))
        headers, rows = users_table(data.users, data.metric)
        table = Table(pad_edge=False, box=None)
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        print_table(console, table)
        print_line(console, users_note(data.users), "dim")
    for text in data.users.ignored:
        print_line(console, visible(f"warning: {text}"), "yellow")


def users_markdown(data: ReportData) -> str:
    """Return the table of groups in Markdown, "" without one."""
    if data.users is None or not data.users.tables:
        return ""
    table = markdown_table(*users_table(data.users, data.metric))
    return f"\n{markdown_text(users_heading(data))}:\n\n{table}\n{users_note(data.users)}\n"


def users_content(data: ReportData) -> dict[str, Any]:
    """Return the groups for JSON as the key `users`, {} without any."""
    if data.users is None or not data.users.tables:
        return {}
    groups = groups_of(data.users)
    return {
        "users": {
            part: {
                "users": users_of(data.users, part),
                "runs": data.users.runs[part],
                "groups": [
                    {"group": group.by, **{k: v for k, v in asdict(group).items() if k != "by"}}
                    for group in groups[part]
                ],
            }
            for part in data.users.tables
        }
    }
