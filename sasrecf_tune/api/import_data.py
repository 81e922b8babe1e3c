"""Converts tables to a data set from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasrecf_tune.api.arguments import check_arguments
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.importing.importer import read_tables
from sasrecf_tune.inputs.import_settings import ImportSettings
from sasrecf_tune.report.terminal.import_summary import json_content


@dataclass(frozen=True)
class ImportedData:
    """A data set that `import_data` has written.

    Attributes:
        dataset: Its name, for `tune`.
        data_path: The directory that it is in, for `tune`.
        config_files: The YAML file with RecBole's settings for it, for `tune`.
        selected_features: The item columns that SASRecF takes; with none, `tune` needs `model="SASRec"`.
        summary: What `sasrecf-tune import --json` prints: columns, kinds, counts.
    """

    dataset: str
    data_path: Path
    config_files: Path
    selected_features: tuple[str, ...]
    summary: Mapping[str, Any]


def import_data(
    interactions: object,
    out: str | Path | None = None,
    *,
    items: object = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    time_format: str | None = None,
    rating: str | None = None,
    min_rating: float | None = None,
    item_key: str | None = None,
    features: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    quotes: bool | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> ImportedData:
    """Convert a table of interactions, and one of items, to a data set of RecBole.

    An argument that is not listed here is the option of `sasrecf-tune import` of that name.

    Args:
        interactions: A data frame of pandas or polars, or a file.
        out: The directory to write; its last part is the name of the data set. Default: data/ and the name of
            the file.
        items: A data frame or a file with the features of the items.
        features: The kinds of item columns that are not to be guessed, such as `{"genres": "token_seq:|"}`.
        force: Replace an existing data set of this name.
        dry_run: Write nothing.

    Raises:
        InputError: A table or an argument cannot be used, or rows would be lost; nothing has been written.
        StorageError: The files cannot be written.

    Example:
        >>> import sasrecf_tune as st
        >>> data = st.import_data(ratings, "data/movies", items=movies)  # doctest: +SKIP
        >>> study = st.tune(space, dataset=data.dataset, data_path=data.data_path,
        ...                 config_files=data.config_files)  # doctest: +SKIP
    """
    check_arguments(import_data, locals())
    with keyword_names():
        settings = ImportSettings(
            out=None if out is None else Path(out),
            user=user,
            item=item,
            time=time,
            time_format=time_format,
            rating=rating,
            min_rating=min_rating,
            item_key=item_key,
            features=[f"{name}:{kind}" for name, kind in (features or {}).items()],
            drop=list(drop),
            separator=separator,
            encoding=encoding,
            header=header,
            quotes=quotes,
            force=force,
        )
        read = read_tables(interactions, items, settings, dry_run)
        read.check()
        if not dry_run:
            read.write()
    content = json_content(read, written=not dry_run)
    return ImportedData(
        read.name,
        read.directory.parent,
        read.config_file,
        tuple(content.get("selected_features", ())),
        content,
    )
