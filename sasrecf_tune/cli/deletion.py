"""Deletes studies: `studies --delete`, and `run --fresh`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import typer

from sasrecf_tune.errors import InputError
from sasrecf_tune.report.formats.trials import trials_ended
from sasrecf_tune.report.terminal.console import make_console
from sasrecf_tune.report.text import count_text
from sasrecf_tune.storage.directory import StudyDirectory, find_study, relative
from sasrecf_tune.storage.files import refuse_links, remove
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from sasrecf_tune.storage.recorded_addresses import database_address


def delete_command(out: Path, name: str, storage: str | None, yes: bool) -> int:
    """Delete a study after asking; returns the exit code.

    Raises:
        InputError: It does not exist, or nobody can be asked.
        StorageError: A run is using it, or it cannot be deleted.
    """
    study_dir = find_study(out, name)
    address = database_address(settings_from(study_dir)[0], storage)
    if not may_delete(study_dir, address, yes):
        return 1
    delete(study_dir, address)
    console = make_console()
    left = study_dir.directory.exists()
    kept = "; other files in its directory are kept" if left else ""
    console.print(
        f"deleted {relative(study_dir.directory)}{kept}", highlight=False, markup=False, soft_wrap=True
    )
    return 0


def may_delete(study_dir: StudyDirectory, address: str | None, yes: bool) -> bool:
    """Whether the user agrees to delete the study, if it exists.

    Args:
        address: The database that it would be deleted from, None for SQLite in its directory.
        yes: The answer, in advance.

    Raises:
        InputError: Nobody can be asked, or the study is in another database.
        StorageError: A run is using it.
    """
    from sasrecf_tune.cli.session import check_not_local
    from sasrecf_tune.storage.lock import check_unlocked

    here = study_dir.manifest.is_file()
    if address is None and not here:
        return True
    recorded = read_manifest(study_dir).get("storage") if here else None
    if recorded and address is None:
        raise InputError(
            f"this study is in another database: {recorded}",
            where=relative(study_dir.directory),
            fix="Give that address with --storage.",
        )
    if address is not None:
        check_not_local(study_dir, address)
    if yes:
        return True
    check_unlocked(study_dir)  # before anyone is asked; `delete` locks it
    ended = trials_ended(study_dir.trials)
    if address is not None:
        from sasrecf_tune.storage.database.maintenance import check_idle, count_ended

        check_idle(study_dir, address)
        # It may have been searched from other machines, and have no directory here.
        ended = count_ended(study_dir, address)
        if ended is None and not here:
            return True
    what = f"the study {study_dir.name} with {count_text(ended or 0, 'ended trial')}"
    if not sys.stdin.isatty():
        raise InputError(
            f"this deletes {what}", where=relative(study_dir.directory), fix="Add --yes to delete it."
        )
    agreed = typer.confirm(f"Delete {what} in {relative(study_dir.directory)}?", err=True)
    if not agreed:
        typer.echo("Nothing was deleted.", err=True)
    return agreed


def delete(study_dir: StudyDirectory, address: str | None) -> None:
    """Delete a study, its confirmation, and its directory if that has nothing else in it.

    Raises:
        StorageError: A run is using it, or it cannot be deleted.
    """
    from sasrecf_tune.storage.database.maintenance import delete_study
    from sasrecf_tune.storage.lock import exclusive

    refuse_links(study_dir.directory, "what is there could be deleted")
    with exclusive(study_dir, required=address is None):
        delete_study(study_dir, address)
        remove([*study_dir.leftovers(), *study_dir.logs.glob("worker*.log"), study_dir.lock])
        for directory in (
            study_dir.logs,
            study_dir.checkpoints,
            study_dir.per_user_directory,
            study_dir.directory,
        ):
            with contextlib.suppress(OSError):  # not empty
                directory.rmdir()
