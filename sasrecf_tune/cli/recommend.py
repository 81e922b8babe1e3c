"""`sasrecf-tune recommend`: the best items of users, from a model directory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sasrecf_tune.cli.session import check_system
from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.executors.worker import set_threads
from sasrecf_tune.importing.layouts import ITEM, TIME, USER
from sasrecf_tune.report.terminal.console import make_console
from sasrecf_tune.report.text import count_text
from sasrecf_tune.storage.directory import find_study, relative
from sasrecf_tune.storage.model_directory import Columns, ModelDirectory

if TYPE_CHECKING:
    from sasrecf_tune.inference.histories import Histories
    from sasrecf_tune.inference.recommender import Recommender

_EXAMPLES = 3


def recommend(
    out: Path,
    name: str | None,
    *,
    top: int = 10,
    users: str | None = None,
    histories: Path | None = None,
    columns: Mapping[str, str] | None = None,
    include_seen: bool = False,
    output: Path | None = None,
) -> None:
    """Write the `top` best items of all users of a model, of some of them, or of other histories.

    Args:
        name: A study, or a model directory.
        users: Original ids with commas between them, or a file with one a line.
        histories: A table of interactions.
        columns: Its columns that were named, by role.
        output: A CSV or Parquet file; None for CSV on standard output.

    Raises:
        InputError: Something given cannot be used, or there is nobody to recommend for.
        StorageError: The model is damaged, or the output cannot be written.
    """
    from sasrecf_tune.report.formats.table_files import check_suffix, open_table

    if users is not None and histories is not None:
        raise InputError("`--users` and `--histories` cannot be used together", fix="Remove one of them.")
    if columns and histories is None:
        raise InputError(
            f"`--{next(iter(columns))}` is about a table of histories",
            fix="Add --histories FILE, or remove it.",
        )
    if output is not None:
        check_suffix(output, (".csv", ".parquet"))
    model = _load(out, name)
    chosen = _chosen_histories(model, users, histories, columns)
    _note_unknown_items(chosen)
    without = int((chosen.lengths == 0).sum())
    if without == len(chosen):
        raise InputError("no history has an item that the model knows", where=str(histories or "--users"))
    if without:
        _note(f"{count_text(without, 'user')} without a known item: nothing is recommended to them")
    with open_table(output) as write:
        for part in model.recommend(chosen, top, include_seen):
            write(part.columns())
    if output is not None:
        users_text = count_text(len(chosen) - without, "user")
        make_console().print(
            f"wrote {relative(output.absolute())}: the best {top} items of {users_text}", soft_wrap=True
        )


def export_items(out: Path, name: str | None, path: Path) -> None:
    """Write the ids and the output vectors of all items to an npz or a Parquet file.

    Raises:
        InputError: Something given cannot be used.
        StorageError: The model is damaged, or the file cannot be written.
    """
    from sasrecf_tune.report.formats.table_files import check_suffix, write_vectors

    check_suffix(path, (".npz", ".parquet"))
    ids, vectors = _load(out, name).item_vectors()
    write_vectors(path, ids, vectors)
    make_console().print(
        f"wrote {relative(path.absolute())}: {count_text(len(ids), 'vector')} of {vectors.shape[1]} numbers",
        soft_wrap=True,
    )


def find_model(out: Path, name: str | None) -> Path:
    """Return the model directory: `name` itself, or that of the study `name`.

    Raises:
        InputError: There is no such model or study.
    """
    with contextlib.suppress(OSError, ValueError):  # of a name that is too long, or has a null character
        if name is not None and ModelDirectory(Path(name)).manifest.is_file():
            return Path(name)
    try:
        study_dir = find_study(out, name)
    except StudyNotFoundError as error:
        if name is None:
            raise
        what = "neither a study nor a model directory, which has a model.json"
        fix = error.fix.replace("Studies there:", f"Studies in {out}:")
        raise StudyNotFoundError(what, where=name, fix=fix) from error
    if not study_dir.model.is_dir():
        raise StudyNotFoundError(
            "this study has no model",
            where=study_dir.name,
            fix=f"Write it first: sasrecf-tune fit {study_dir.arguments}",
        )
    return study_dir.model


def _load(out: Path, name: str | None) -> Recommender:
    check_system()
    path = find_model(out, name)
    ModelDirectory(path).check()
    set_threads(0)  # before torch is imported: threads that wait leave the cores to others
    from sasrecf_tune.inference.recommender import Recommender

    return Recommender(path)


def _chosen_histories(
    model: Recommender, users: str | None, histories: Path | None, named: Mapping[str, str] | None
) -> Histories:
    if histories is not None:
        from sasrecf_tune.inference.history_file import read_histories

        found, columns = read_histories(histories, model.manifest.columns, model.index, named or {})
        _note_columns(columns)
        return found
    if model.histories is None:
        raise InputError(
            "this model has no histories: its data had ready-made ones (benchmark_filename)",
            fix="Give them with --histories FILE.",
        )
    if users is None:
        return model.histories
    from sasrecf_tune.inference.histories import known_users

    found, unknown = known_users(model.histories, _user_ids(users, model.manifest.columns))
    if unknown and len(found):
        _note(f"{count_text(len(unknown), 'user')} not in the data, such as {_some(unknown)}")
    if not len(found):
        what = "no such user" if "," in users else "neither a user of the data nor a file"
        raise InputError(
            what, where=f"--users {users[:100]}", fix="--histories FILE takes histories of any users."
        )
    return found


def _user_ids(text: str, columns: Columns) -> list[str]:
    path = Path(text)
    try:
        if not path.is_file():
            return [each.strip() for each in text.split(",") if each.strip()]
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8 text", where=text, fix="It has one user id a line.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read: {getattr(error, 'strerror', None) or error}", where=text[:100]
        ) from error
    if lines and lines[0].partition(":")[0].strip().lower() in (columns.user.lower(), "user", "user_id"):
        del lines[0]  # a header
    return [line.strip() for line in lines if line.strip()]


def _note_columns(columns: Mapping[str, str]) -> None:
    order = f"in the order of {columns[TIME]}" if TIME in columns else "in the order of the rows: no times"
    _note(f"histories: users are in {columns[USER]}, items in {columns[ITEM]}, {order}")


def _note_unknown_items(histories: Histories) -> None:
    if histories.missing:
        _note(f"{count_text(histories.missing, 'row')} without a user or an item: left out")
    if histories.unknown_items:
        _note(
            f"{count_text(histories.unknown_items, 'interaction')} with items that the model does not know, "
            f"such as {_some(histories.examples)}: left out"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:_EXAMPLES])


def _note(text: str) -> None:
    make_console(sys.stderr).print(text, style="yellow", soft_wrap=True)
