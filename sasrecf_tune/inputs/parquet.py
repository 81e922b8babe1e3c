"""Imports pyarrow, which only Parquet files need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import InputError


def import_pyarrow(path: Path) -> Any:
    """Return the module pyarrow, with its module for Parquet.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be used: {error}"
        raise InputError(
            f"Parquet files need pyarrow, which {why}",
            where=str(path),
            fix=f"Install it: {install_command(extra='parquet')}\nOr use a CSV file.",
        ) from error
    return pyarrow
