"""Reads tables, and writes them as a data set of RecBole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sasrecf_tune.errors import InputError, MistakeCollector
from sasrecf_tune.importing.atomic_files import interaction_lines, item_lines, yaml_text
from sasrecf_tune.importing.install import check_target, write_directory
from sasrecf_tune.importing.interactions import Interactions, read_interactions, refusal
from sasrecf_tune.importing.items import Items, read_items
from sasrecf_tune.importing.sources import open_table
from sasrecf_tune.importing.text_format import plain_name
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET
from sasrecf_tune.inputs.import_settings import ImportSettings

_NAME = re.compile(r"[\w][\w.+-]{0,99}")


@dataclass(frozen=True)
class TablesRead:
    """What has been read of the tables, before anything is written.

    Attributes:
        directory: Where the data set is to be written.
        sources: The names of the tables, for people, and how each was read.
    """

    directory: Path
    interactions: Interactions
    items: Items | None
    sources: Sequence[tuple[str, str]]
    settings: ImportSettings

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.directory.name

    @property
    def config_file(self) -> Path:
        """The YAML file with the settings for RecBole."""
        return self.directory / f"{self.name}.yaml"

    def check(self) -> None:
        """Check that no row is lost that was not told to be left out.

        Raises:
            InputError: Some would be.
        """
        with MistakeCollector() as mistakes:
            parts = [self.interactions.lost, self.items.lost if self.items else ()]
            for lost, (name, _) in zip(parts, self.sources, strict=False):
                if error := refusal(lost, self.settings.drop, name):
                    mistakes.add(error)

    def write(self) -> list[Path]:
        """Write the files of the data set, and return them.

        Raises:
            InputError: Rows would be lost, or the data set exists.
            StorageError: They cannot be written.
        """
        self.check()
        check_target(self.directory, self.settings.force)
        files = {f"{self.name}.inter": interaction_lines(self.interactions)}
        if self.items is not None:
            files[f"{self.name}.item"] = item_lines(self.items)
        names = [name for name, _ in self.sources]
        files[self.config_file.name] = iter([yaml_text(self.name, self.interactions, self.items, names)])
        write_directory(self.directory, files)
        return [self.directory / name for name in files]


def read_tables(
    interactions: object, items: object, settings: ImportSettings, dry_run: bool = False
) -> TablesRead:
    """Read the tables: files, or data frames.

    Args:
        items: None if there is none.
        dry_run: Nothing will be written.

    Raises:
        InputError: A table, a column or an option cannot be used; nothing has been written.
    """
    directory = _directory(interactions, settings)
    if not dry_run:
        check_target(directory, settings.force)
    settings.feature_settings()
    table = open_table(interactions, settings)
    found = read_interactions(table, settings)
    sources = [(table.name, table.about)]
    read = None
    if items is not None:
        item_table = open_table(items, settings)
        sources.append((item_table.name, item_table.about))
        read = read_items(item_table, found, settings)
    elif settings.features or settings.item_key:
        option = "--feature" if settings.features else "--item-key"
        raise InputError(f"`{option}` needs a table of items", fix="Give it: --items FILE.")
    return TablesRead(directory, found, read, sources, settings)


def _directory(interactions: object, settings: ImportSettings) -> Path:
    """The directory to write.

    Raises:
        InputError: Its last part cannot be the name of a data set.
    """
    if settings.out is not None:
        directory = settings.out
    elif isinstance(interactions, str | Path):
        name = re.sub(r"[^\w-]+", "-", plain_name(Path(interactions)).rsplit(".", 1)[0]).strip("-")
        directory = Path("data") / (name or "dataset")
    else:
        raise InputError("the data set needs a name", where="--out", fix='For example: --out "data/shop".')
    if not _NAME.fullmatch(directory.name):
        raise InputError(
            f"{directory.name!r} cannot be the name of a data set",
            where="--out",
            fix="Use letters, digits, - and _, for example --out data/shop.",
        )
    if directory.name == BUILTIN_DATASET:
        raise InputError(
            f"RecBole reads {BUILTIN_DATASET} from its own package, never from another directory",
            where="--out",
            fix=f"Choose another name, for example --out data/my-{BUILTIN_DATASET}.",
        )
    return directory
