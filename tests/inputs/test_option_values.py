from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.option_values import parse_size, parse_until


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5 tb", 15 * 10**11), ("500M", 5 * 10**8), ("2GiB", 2**31), ("7", 7), ("0", 0)],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(1, 9999), st.sampled_from(["", "KB", "MB", "GB", "TB"]))
def test_sizes_are_written_as_they_are_read(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(str(size)) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "nan", "inf", "1e9", "5 G B", "\u0665GB"])
def test_invalid_sizes_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "value", "written"), [("0.5", 0.5, "0.5"), ("2", 2.0, "2"), (" never ", 0.0, "never")]
)
def test_until_is_a_number_or_never(text: str, value: float, written: str) -> None:
    assert parse_until(text) == value
    assert str(parse_until(text)) == written


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e3", "soon", ""])
def test_other_values_of_until_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="invalid value"):
        parse_until(text)
