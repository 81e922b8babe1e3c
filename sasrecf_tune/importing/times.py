"""Times as exact whole numbers, from numbers, ISO dates and dates of another format."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sasrecf_tune.errors import InputError

# Where the decimals of numbers end.
_DECIMALS = 9
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_DECIMAL = re.compile(rf"([+-]?)(\d{{1,9}}|1\d{{9}}|[2-8]\d{{9}})(?:\.(\d{{0,{_DECIMALS}}})0*)?")
_ZONE = r"(?:[T ].*)(?:Z|[+-]\d\d(?::?\d\d)?)\s*$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63  # larger numbers are no times, and their order would be lost
# Dates of other years are more nanoseconds away from 1970.
YEARS = "of the years 1678 to 2261"
# Times of the years 1973 to 2286, as numbers since 1970: from which number on, units a second, the unit.
_UNITS = (
    (1e17, 10**9, "nanoseconds"),
    (1e14, 10**6, "microseconds"),
    (1e11, 10**3, "milliseconds"),
    (1e8, 1, "seconds"),
)


@dataclass(frozen=True)
class TimeColumn:
    """The times of the rows.

    Attributes:
        values: In order; whole numbers if possible, so that they are exact.
        valid: Where there is a time.
        missing: Where there is no text.
        scale: How many `values` are one unit of the table.
        dates: Whether they were dates; `values` are then nanoseconds or microseconds since 1970.
        zones: How many have a time zone.
    """

    values: NDArray[np.int64] | NDArray[np.float64]
    valid: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    scale: int = 1
    dates: bool = False
    zones: int = 0


def parse_times(column: pd.Series, time_format: str | None) -> TimeColumn:
    """Convert a column of text, numbers or dates.

    Args:
        time_format: That of dates as text, for strptime; None for numbers and ISO dates.
    """
    if isinstance(column.dtype, np.dtype | pd.DatetimeTZDtype) and column.dtype.kind == "M":
        return _dates(column, column.isna().to_numpy(), zones=0)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        given, missing = column.to_numpy(), np.zeros(len(column), dtype=bool)
        valid = given < _LARGEST if given.dtype == np.uint64 else ~missing
        return TimeColumn(np.where(valid, given, 0).astype(np.int64), valid, missing)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return _floats(column.to_numpy(np.float64), np.isnan(column.to_numpy()))
    if time_format is None and (whole := _whole_numbers(column)) is not None:
        return whole
    # A Parquet file may have arrays, which are not compared.
    texts = column.astype(object).map(str).str.strip().where(column.notna(), "")
    missing = texts.isin(["", "NaT", "None", "nan", "NaN", "null", "NULL", "NA", "N/A"]).to_numpy()
    if time_format is None:
        numbers = _numbers(texts, missing)
        if numbers is not None:
            return numbers
    zones = int(texts[~missing].str.contains(_ZONE, regex=True).sum()) if time_format is None else 0
    return _dates(_parsed_dates(texts.where(~missing), time_format), missing, zones)


def _whole_numbers(column: pd.Series) -> TimeColumn | None:
    """The quick way, where all values are whole numbers; None otherwise."""
    kind = pd.api.types.infer_dtype(column, skipna=False)
    objects = column.to_numpy(dtype=object)
    # Python's int() reads "1_000" too.
    if kind != "integer" and (kind != "string" or any("_" in text for text in objects)):
        return None
    try:
        values = objects.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    everywhere = np.ones(len(values), dtype=bool)
    return TimeColumn(values, everywhere, ~everywhere)


def _floats(values: NDArray[np.float64], missing: NDArray[np.bool_]) -> TimeColumn:
    finite = np.abs(values) < _LARGEST
    kept = np.where(finite, values, 0.0) + 0.0  # no -0.0, whose bits differ
    if (np.trunc(kept) == kept).all():
        return TimeColumn(kept.astype(np.int64), finite, missing)
    return TimeColumn(kept, finite, missing)


def _numbers(texts: pd.Series, missing: NDArray[np.bool_]) -> TimeColumn | None:
    """Numbers, with decimals as whole numbers of 10^-9; None if most are not numbers."""
    given = texts[~missing]
    values = np.zeros(len(texts), dtype=np.int64)
    valid = ~missing
    if given.map(lambda text: _WHOLE.fullmatch(text) is not None).all():
        with contextlib.suppress(OverflowError):
            values[valid] = given.to_numpy(dtype=object).astype(np.int64)
            return TimeColumn(values, valid, missing)
    found = given.map(_DECIMAL.fullmatch)
    if found.notna().all() and len(given):
        values[valid] = [_scaled(match) for match in found]
        return TimeColumn(values, valid, missing, scale=10**_DECIMALS)
    floats = pd.to_numeric(texts.where(~missing), errors="coerce").to_numpy(np.float64)
    if (np.abs(floats) < _LARGEST).sum() * 2 < len(given) or not len(given):
        return None
    return _floats(floats, missing)


def _scaled(match: re.Match[str]) -> int:
    sign, whole, decimals = match.groups()
    number: int = int(whole) * 10**_DECIMALS + int((decimals or "").ljust(_DECIMALS, "0"))
    return -number if sign == "-" else number


def _parsed_dates(texts: pd.Series, time_format: str | None) -> pd.Series:
    try:
        return pd.to_datetime(texts, format=time_format or "ISO8601", utc=True, errors="coerce")
    except ValueError as error:  # the format is none
        raise InputError(
            f"invalid `--time-format` value {time_format!r}",
            fix="Its codes are those of Python's strptime, for example '%d/%m/%Y %H:%M:%S'.",
        ) from error


def _dates(dates: pd.Series, missing: NDArray[np.bool_], zones: int) -> TimeColumn:
    plain = dates.dt.tz_localize(None)
    valid = ((plain >= pd.Timestamp.min) & (plain <= pd.Timestamp.max)).to_numpy()
    exact = dates.where(valid, pd.Timestamp(0, tz=dates.dt.tz)).dt.as_unit("ns")
    return TimeColumn(exact.to_numpy("datetime64[ns]").astype(np.int64), valid, missing, 1, True, zones)


def joined(parts: list[TimeColumn], name: str) -> TimeColumn:
    """The times of all chunks as one column.

    Raises:
        InputError: Some are dates and others numbers, or only some have a time zone.
    """
    kinds = {part.dates for part in parts if part.valid.any()}
    if len(kinds) > 1:
        raise InputError(
            f"column {name!r} has dates and numbers: they have no common order",
            where="--time",
            fix="Convert the column to one of them.",
        )
    dates = kinds == {True}
    zones, given = sum(part.zones for part in parts), sum(int(part.valid.sum()) for part in parts)
    if dates and 0 < zones < given:
        raise InputError(
            f"column {name!r} has {zones:,} times with a time zone and {given - zones:,} without: their "
            "order is not known",
            where="--time",
            fix="Convert the column to one time zone.",
        )
    scale = max((part.scale for part in parts), default=1)
    values: list[NDArray[Any]] = [_scaled_up(part, scale) for part in parts]
    return TimeColumn(
        np.concatenate(values) if values else np.zeros(0, dtype=np.int64),
        np.concatenate([part.valid for part in parts]) if parts else np.zeros(0, dtype=bool),
        np.concatenate([part.missing for part in parts]) if parts else np.zeros(0, dtype=bool),
        scale,
        dates,
        zones,
    )


def _scaled_up(part: TimeColumn, scale: int) -> NDArray[np.int64] | NDArray[np.float64]:
    factor, about = scale // part.scale, part.values.astype(np.float64)
    if part.values.dtype.kind == "f" or np.abs(about).max(initial=0.0) * factor >= _LARGEST:
        return about * factor
    return part.values.astype(np.int64) * factor


@dataclass(frozen=True)
class TimeSpan:
    """What times mean: the first and the last, and the unit of the table, "" if it is not known."""

    first: str
    last: str
    unit: str

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def span_of(column: TimeColumn, kept: NDArray[np.int64] | NDArray[np.float64]) -> TimeSpan:
    """What the times `kept` of the column mean, by their magnitude."""
    first, last = (float(end) / column.scale for end in (kept.min(), kept.max()))
    if column.dates:
        units, unit = 10**9, "dates, UTC" if column.zones else "dates"
    else:
        largest = max(abs(first), abs(last))
        units, unit = next(
            (
                (units, f"{unit} since 1970")
                for start, units, unit in _UNITS
                if start <= largest < 100 * start
            ),
            (0, ""),
        )
    if not units:
        return TimeSpan(f"{first:.15g}", f"{last:.15g}", "")
    return TimeSpan(_date(first / units), _date(last / units), unit)


def _date(seconds: float) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")
    except OverflowError:
        return f"{seconds:.0f} s"
