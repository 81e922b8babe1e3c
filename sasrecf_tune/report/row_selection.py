"""Which trials a report shows, and in which order: `--filter n_layers=2` and `--sort seconds`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sasrecf_tune.errors import InputError, suggest
from sasrecf_tune.inputs.literals import Value, from_string, is_number
from sasrecf_tune.trials import Row, TrialRecord, cell_text, value_order

FIELDS: dict[str, Callable[[TrialRecord], Any]] = {
    "trial": lambda record: record.number,
    "state": lambda record: record.state_text,
    "seconds": lambda record: record.seconds,
    # Not "epochs" alone: a parameter has that name.
    "trained_epochs": lambda record: record.epochs,
    "best_epoch": lambda record: record.best_epoch,
}
_LISTED = 12


def pick(rows: Sequence[Row], names: Sequence[str], filters: Sequence[str], order: str | None) -> list[Row]:
    """Return the rows that match all filters, in the given order. Their ranks stay those of the whole study.

    Args:
        names: Parameters of the search space.
        filters: "NAME=VALUE"; several with the same name match any of their values.
        order: "score" (the ranking), a parameter or a measurement; "-" in front reverses it.

    Raises:
        InputError: Unknown name or value; the message lists the known ones.
    """
    wanted: dict[str, tuple[Callable[[TrialRecord], Any], list[Value]]] = {}
    for text in filters:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(
                f"invalid filter {text!r}", where="--filter", fix="Write NAME=VALUE: n_layers=2."
            )
        get, values = wanted.setdefault(name, (_getter(name, ("trial", "state"), names, "--filter"), []))
        values.append(from_string(value))
        if rows and not any(_same(get(row.record), values[-1]) for row in rows):
            there = _listed([get(row.record) for row in rows])
            raise InputError(f"no trial has {name}={value}", where="--filter", fix=f"Its values: {there}.")
    kept = [
        row
        for row in rows
        if all(any(_same(get(row.record), v) for v in values) for get, values in wanted.values())
    ]
    return _ordered(kept, names, order)


def _ordered(rows: list[Row], names: Sequence[str], order: str | None) -> list[Row]:
    name = (order or "score").strip()
    down, name = name.startswith("-"), name.removeprefix("-")
    if name == "score":
        return rows[::-1] if down else rows
    get = _getter(name, tuple(FIELDS), names, "--sort", also=("score",))
    # Equal rows stay in the order of the ranking both ways; trials without a value come last.
    with_value = [row for row in rows if get(row.record) is not None]
    without = [row for row in rows if get(row.record) is None]
    return sorted(with_value, key=lambda row: _place(get(row.record)), reverse=down) + without


def _getter(
    name: str, fields: Sequence[str], names: Sequence[str], where: str, also: Sequence[str] = ()
) -> Callable[[TrialRecord], Any]:
    if name in names:
        return lambda record: record.params.get(name)
    if name in fields:
        return FIELDS[name]
    known = [*also, *fields, *names]
    raise InputError(
        f"unknown name `{name}`{suggest(name, known)}", where=where, fix=f"Known names: {', '.join(known)}."
    )


def _same(value: Value, wanted: Value) -> bool:
    if is_number(value) and is_number(wanted):
        return value == wanted
    return cell_text(value) == cell_text(wanted)


def _place(value: Value) -> tuple[int, float, str]:
    return (*value_order(value), "" if is_number(value) else cell_text(value))


def _listed(values: Sequence[Value]) -> str:
    distinct = {cell_text(value): value for value in values if value is not None}
    texts = sorted(distinct, key=lambda text: _place(distinct[text]))
    if len(texts) <= _LISTED:
        return ", ".join(texts)
    return f"{', '.join(texts[:3])}, ... {texts[-1]} ({len(texts)} values)"
