"""Where a study's database and cluster are, which its manifest records but does not decide.

A study directory may come from somebody else: only the command line and the environment say where to connect.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.settings import STORAGE_VARIABLE, RunSettings
from sasrecf_tune.storage.url_masking import mask_address, mask_command


def database_address(settings: RunSettings, given: str | None) -> str | None:
    """Return the database of a study: `given` if the study is on a server, None if in its own directory.

    A study in its own directory stays there: the environment variable applies to all studies.

    Args:
        settings: The settings in the study's manifest.
        given: The address on the command line or in the environment.

    Raises:
        InputError: None is given for a study on a server, or one otherwise for a study in its own directory.
    """
    if settings.storage:
        if given:
            return given
        recorded = mask_address(settings.storage)
        raise InputError(
            f"this study is in the database {recorded}; a study directory does not decide where to connect",
            where=settings.name,
            fix=f"If that server is yours, {_command('--storage', recorded)}, or set {STORAGE_VARIABLE}.",
        )
    if given and given != os.environ.get(STORAGE_VARIABLE):
        raise InputError(
            f"the study {settings.name!r} is in its directory (SQLite), not in a database on a server",
            where="--storage",
            fix="Remove it, or start another study in that database: sasrecf-tune run --storage URL "
            "--study NEW-NAME",
        )
    return None


def check_recorded_cluster(settings: RunSettings, given: str | None) -> None:
    """Check that the cluster that trials are to be trained on is not one that only the manifest names.

    Args:
        settings: The settings in the study's manifest, with the options of the command.
        given: `--address`.

    Raises:
        InputError: It is. The cluster of this machine (`auto`) needs no option.
    """
    if settings.executor == "ray" and given is None and settings.address != "auto":
        raise InputError(
            f"this study was on the cluster {settings.address}; a study directory does not decide where to "
            "connect",
            where=settings.name,
            fix=f"If that cluster is yours, {_command('--address', settings.address)}. Else use --executor "
            "local, or --address with another cluster.",
        )


def _command(option: str, value: str) -> str:
    """What to enter: the present command with the option; from Python the option alone."""
    program = Path(sys.argv[0])
    if program.stem != "sasrecf-tune" and program.parent.name != "sasrecf_tune":
        return f"give {option} {value}"
    words = ["sasrecf-tune", *mask_command(sys.argv[1:]), option, value]
    return f"enter {shlex.join(words)}"
