"""The text of RecBole's atomic files and of the YAML file that fits to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from sasrecf_tune.importing.feature_kinds import Feature
from sasrecf_tune.importing.ids import field_text
from sasrecf_tune.importing.interactions import Interactions
from sasrecf_tune.importing.items import ITEM_ID, RATING_NAME, TIMESTAMP, USER_ID, Items

_ROWS = 200_000
# RecBole separates the values of a token_seq with a space; other characters if values have spaces.
_SEQUENCE_SEPARATORS = " |;,/\x1e"


def interaction_lines(interactions: Interactions) -> Iterator[str]:
    """The file of interactions, in pieces."""
    users = list(map(field_text, interactions.user_ids.texts))
    items = list(map(field_text, interactions.item_ids.texts))
    rated = interactions.ratings is not None
    yield f"{USER_ID}:token\t{ITEM_ID}:token\t{TIMESTAMP}:float" + f"\t{RATING_NAME}:float" * rated + "\n"
    for start in range(0, len(interactions.users), _ROWS):
        part = slice(start, start + _ROWS)
        columns: list[Any] = [
            [users[number] for number in interactions.users[part].tolist()],
            [items[number] for number in interactions.items[part].tolist()],
            interactions.times.values[part].tolist(),
        ]
        if interactions.ratings is not None:
            columns.append([f"{value:.15g}" for value in interactions.ratings[part].tolist()])
        yield "".join(map(("\t".join(["{}"] * len(columns)) + "\n").format, *columns))


def item_lines(items: Items) -> Iterator[str]:
    """The file of items, in pieces."""
    separator = sequence_separator(items.written)
    yield "\t".join([f"{ITEM_ID}:token", *(f"{each.name}:{each.kind}" for each in items.written)]) + "\n"
    columns = [list(map(field_text, items.ids))]
    for each in items.written:
        cells = (cell if isinstance(cell, str) else separator.join(cell) for cell in each.cells)
        columns.append(list(map(field_text, cells)))
    for start in range(0, len(items.ids), _ROWS):
        part = slice(start, start + _ROWS)
        yield "".join(
            "\t".join(row) + "\n" for row in zip(*(column[part] for column in columns), strict=True)
        )
    empty = "\t" * len(items.written) + "\n"
    yield "".join(field_text(text) + empty for text in items.without_row)


def sequence_separator(features: Sequence[Feature]) -> str:
    """The first separator of a token_seq that none of the values contains."""
    values = "".join(
        {value for each in features if each.kind == "token_seq" for cell in each.cells for value in cell}
    )
    return next(separator for separator in _SEQUENCE_SEPARATORS if separator not in values)


def yaml_text(name: str, interactions: Interactions, items: Items | None, sources: Sequence[str]) -> str:
    """The YAML file with the settings that RecBole needs to read the files.

    Args:
        sources: What the tables are called.
    """
    settings: dict[str, Any] = {"USER_ID_FIELD": USER_ID, "ITEM_ID_FIELD": ITEM_ID, "TIME_FIELD": TIMESTAMP}
    load = {"inter": [USER_ID, ITEM_ID, TIMESTAMP]}
    selected = selected_features(items)
    if items is not None and items.written:
        load["item"] = [ITEM_ID, *selected]
        settings["selected_features"] = selected
        if any(each.kind == "token_seq" for each in items.written):
            settings["seq_separator"] = sequence_separator(items.written)
    settings["load_col"] = load
    columns = interactions.columns
    comments = [
        f"Settings of RecBole for {name}, written by sasrecf-tune import from {' and '.join(sources)}.",
        f"user_id: {columns['user']}; item_id: {columns['item']}; timestamp: {columns['time']}.",
        f"timestamp is {interactions.times.how}.",
        "RecBole reads times as float32: these are exact, and histories keep the order of the table.",
        f"The times of the table: {interactions.span}.",
    ]
    comments += [
        f"{each.name} is float: to use it, add it to load_col, selected_features and numerical_features."
        for each in (items.written if items else ())
        if each.kind == "float"
    ]
    lines = [f"# {_one_line(comment)}\n" for comment in comments]
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return "".join(lines) + text


def selected_features(items: Items | None) -> list[str]:
    """The features that the model takes: all that need no further setting."""
    return [each.name for each in (items.written if items else ()) if each.kind != "float"]


def _one_line(text: str) -> str:
    """The text with what could end a comment, or be no YAML, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
