"""What an import has understood of tables, on a terminal and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.importing.atomic_files import selected_features
from sasrecf_tune.importing.importer import TablesRead
from sasrecf_tune.importing.interactions import LostRows
from sasrecf_tune.inputs.hyperparameters import SASREC
from sasrecf_tune.report.terminal.console import print_command, print_line, print_table
from sasrecf_tune.report.text import count_text

_EXAMPLE = 40
# Interactions that a user needs to be in the test part: RecBole leaves one out, and learns from two or more.
_TESTED = 3


def show_tables(read: TablesRead, console: Console) -> None:
    """Print the columns and what they are taken for, and the counts."""
    interactions, items = read.interactions, read.items
    table = Table(box=None, pad_edge=False)
    table.add_column("column", overflow="fold")
    table.add_column("taken for", overflow="fold")
    table.add_column("different", justify="right")
    table.add_column("missing", justify="right")
    table.add_column("example", overflow="fold")
    for row in _column_rows(read):
        table.add_row(*map(Text, row))
    for name, about in read.sources:
        print_line(console, f"{name}: {about}")
    print_table(console, table)
    if interactions.unused:
        print_line(console, f"not used: {', '.join(interactions.unused[:20])}")
    console.print()
    print_line(console, f"{interactions.rows:,} rows read, {len(interactions.users):,} interactions")
    for lost in interactions.lost:
        print_line(console, f"  left out, {_lost_text(read, lost)}")
    if interactions.repeated and "duplicates" not in read.settings.drop:
        print_line(
            console,
            f"  {count_text(interactions.repeated, 'row')} with the user, item and time of an earlier row: "
            "kept (--drop duplicates leaves them out)",
        )
    print_line(
        console,
        f"{count_text(interactions.count_of_users(), 'user')}, "
        f"{count_text(interactions.count_of_items(), 'item')}",
    )
    if few := interactions.count_of_short(_TESTED):
        print_line(
            console,
            f"  {count_text(few, 'user')} with fewer than {_TESTED} interactions: kept, but RecBole does not "
            "test them, and learns nothing from a single one",
        )
    for text in _notes(read):
        print_line(console, text)
    if items is not None:
        print_line(console, f"{items.rows:,} rows of items read, {len(items.ids):,} items")
        for lost in items.lost:
            print_line(console, f"  left out, {_lost_text(read, lost)}")
        if items.without_row:
            print_line(
                console, f"  {len(items.without_row):,} items of interactions have no row: without features"
            )
        if items.unseen:
            print_line(
                console,
                f"  {count_text(items.unseen, 'item')} without interactions: kept, RecBole ranks them too "
                "(--drop unseen-items leaves them out)",
            )


def _lost_text(read: TablesRead, lost: LostRows) -> str:
    refused = lost.drop is not None and lost.drop not in read.settings.drop
    return f"{lost}{f' -> refused without --drop {lost.drop}' if refused else ''}"


def _notes(read: TablesRead) -> Iterator[str]:
    span, times = read.interactions.span, read.interactions.times
    yield f"times: {span}{f' ({span.unit})' if span.unit else ''}"
    yield f"written as: {times.how}"


def _column_rows(read: TablesRead) -> Iterator[tuple[str, str, str, str, str]]:
    interactions, items = read.interactions, read.items
    columns = interactions.columns
    counts = {"user": len(interactions.user_ids), "item": len(interactions.item_ids)}
    for role, column in columns.items():
        ids = {"user": interactions.user_ids, "item": interactions.item_ids}.get(role)
        example = next(iter(ids.texts), "") if ids else ""
        if role == "time":
            example = interactions.span.first
        yield column, role, f"{counts[role]:,}" if role in counts else "", "", _cut(example)
    if items is None:
        return
    yield items.key, "item (of the items)", f"{len(items.ids):,}", "", _cut(next(iter(items.ids), ""))
    for each in items.features:
        kind = f"{each.kind}: {each.why}"
        if each.kind == "token_seq" and each.separator != "[]":
            kind = f"{each.kind} separated by {each.separator!r}: {each.why}"
        name = each.column if each.column == each.name else f"{each.column} -> {each.name}"
        yield name, kind, f"{each.distinct:,}", f"{each.missing:,}", _cut(each.example)


def _cut(text: str) -> str:
    text = " ".join(text.split("\n"))
    return text if len(text) <= _EXAMPLE else f"{text[:_EXAMPLE]}..."


def show_written(read: TablesRead, paths: list[Any], console: Console) -> None:
    """Print the files that were written, and the commands that use them."""
    print_line(console, f"written to {read.directory}: {', '.join(path.name for path in paths)}")
    print_command(console, "A search space to begin with:", "sasrecf-tune init")
    print_command(console, "To search:", run_command(read))


def run_command(read: TablesRead) -> str:
    """The command that searches on the data set."""
    words = ["sasrecf-tune", "run", "--params-file", "quickstart.test", "--dataset", read.name]
    words += ["--data-path", str(read.directory.parent), "--config-files", str(read.config_file)]
    if not selected_features(read.items):
        words += ["--model", SASREC]
    return shlex.join(words)


def json_content(read: TablesRead, written: bool) -> dict[str, Any]:
    """What was read, for programs."""
    interactions, items = read.interactions, read.items
    content: dict[str, Any] = {
        "dataset": read.name,
        "directory": str(read.directory),
        "config_file": str(read.config_file),
        "written": written,
        "columns": dict(interactions.columns),
        "unused_columns": list(interactions.unused),
        "rows": interactions.rows,
        "interactions": len(interactions.users),
        "users": interactions.count_of_users(),
        "items": interactions.count_of_items(),
        "repeated": interactions.repeated,
        "lost": _lost_content(read, interactions.lost),
        "first_time": interactions.span.first,
        "last_time": interactions.span.last,
        "times": interactions.times.how,
        "run": run_command(read),
    }
    if items is not None:
        content["item_key"] = items.key
        content["item_rows"] = items.rows
        content["items_without_row"] = len(items.without_row)
        content["unseen_items"] = items.unseen
        content["lost_items"] = _lost_content(read, items.lost)
        content["features"] = [
            {
                "column": each.column,
                "name": each.name,
                "kind": each.kind,
                "why": each.why,
                "different": each.distinct,
                "missing": each.missing,
            }
            for each in items.features
        ]
        content["selected_features"] = selected_features(items)
    return content


def _lost_content(read: TablesRead, lost: Any) -> list[dict[str, Any]]:
    return [{"why": each.why, "rows": each.count, "drop": each.drop} for each in lost]
