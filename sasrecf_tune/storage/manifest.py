"""manifest.json: the inputs, settings and versions of a study, from which it is continued and reproduced."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from sasrecf_tune import __version__
from sasrecf_tune.environment import installed_version
from sasrecf_tune.errors import StorageError, TuneError
from sasrecf_tune.inputs.hyperparameters import COMPARABILITY_KEYS
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings, out_of_range
from sasrecf_tune.inputs.validation import check_config
from sasrecf_tune.storage.directory import ANOTHER_STUDY, StudyDirectory
from sasrecf_tune.storage.files import atomic_write, read_own
from sasrecf_tune.storage.manifest_schema import UNREADABLE, Recorded, Settings, value_text, wrong_value
from sasrecf_tune.storage.url_masking import mask_command

_FORMAT = 1
_DECIMALS = "metric_decimal_place"
_RESTORE = "Restore it from a copy, or move it away: `run` writes a new one."
_LIBRARIES = ("torch", "recbole", "optuna", "numpy", "pandas", "scipy", "typer", "rich", "PyYAML")


def write_manifest(study_dir: StudyDirectory, content: dict[str, Any], trains: bool = True) -> None:
    """Write `content`, with the times, the commands, the machine and the versions.

    `command` is the one that began the study; `later_commands` are the others that have trained trials.

    Args:
        trains: Whether the run trains anything. If not, these remain those of the trials.
    """
    before = read_manifest(study_dir) if study_dir.manifest.is_file() else {}
    here = _provenance()
    later = before.get("later_commands", [])
    if "command" in before and trains and here["command"] not in (before["command"], *later):
        later = [*later, here["command"]]
    keep = [
        "confirmation",
        "command",
        *(() if trains else ("updated", "sasrecf_tune", "machine", "versions")),
    ]
    full = {
        "format": _FORMAT,
        "sasrecf_tune": __version__,
        "created": before.get("created", _now()),
        "updated": _now(),
        **content,
        **here,
        **{key: before[key] for key in keep if key in before},
        "later_commands": later,
    }
    _write(study_dir, full)


def record_confirmation(study_dir: StudyDirectory, content: dict[str, Any], trains: bool) -> None:
    """Add the settings of a confirmation to the manifest; `trains` as in `write_manifest`."""
    manifest = read_manifest(study_dir)
    before = manifest.get("confirmation")
    here = {"sasrecf_tune": __version__, "updated": _now(), **_provenance()}
    if before is not None and not trains:
        here = {key: before.get(key) for key in here}
    _write(study_dir, manifest | {"confirmation": {**content, **here}})


def environment() -> dict[str, dict[str, Any]]:
    """Return what can change results: facts on this machine, and versions of libraries."""
    machine = {
        "system": platform.platform(),
        "processor": platform.machine(),
        "model": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    return {"machine": machine, "versions": {name: installed_version(name) for name in _LIBRARIES}}


def read_manifest(study_dir: StudyDirectory, kind: type = Recorded) -> dict[str, Any]:
    """Read the manifest of a study.

    Args:
        kind: `Planned` for the manifest of a study whose search has begun.

    Raises:
        StorageError: It cannot be read, has another format, or a value in it is invalid.
    """
    where = str(study_dir.manifest)
    try:
        content = json.loads(read_own(study_dir.manifest))
    except OSError as error:
        raise StorageError(
            f"cannot read the manifest: {error.strerror}", where=where, fix=_RESTORE
        ) from error
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise StorageError(
            f"the manifest is damaged: it is not JSON{place}", where=where, fix=_RESTORE
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise StorageError(
            "not a manifest, or of another version of sasrecf-tune",
            where=where,
            fix=f"Use the version that wrote it, or {ANOTHER_STUDY}",
        )
    if wrong := wrong_value(content, Recorded) or wrong_value(content, kind):
        raise StorageError(f"the manifest is damaged: {wrong}", where=where, fix=_RESTORE)
    return content


def settings_content(settings: RunSettings, space: SearchSpace, storage: str | None) -> dict[str, Any]:
    """Return the part of the manifest that `settings_from` reads."""
    content = asdict(settings)
    del content["out"]  # the directory may be moved
    del content["earlier_work"]  # the study has what it has imported
    base = content.pop("base")
    return {
        "study": content.pop("name"),
        **content,
        "metric": str(settings.metric),
        "maximize": settings.metric.maximize,
        "params_file": str(settings.params_file.absolute()),
        "space": space.write(),
        "config": base,
        "storage": storage,
    }


def settings_from(study_dir: StudyDirectory) -> tuple[RunSettings, SearchSpace]:
    """Read the settings and the space that a study was last run with.

    Raises:
        StorageError: The manifest cannot be read, or a value in it is invalid.
    """
    content = read_manifest(study_dir, Settings)
    where = str(study_dir.manifest)
    try:
        if unknown := content["search"].keys() - {field.name for field in fields(SearchSettings)}:
            raise StorageError(f"unknown key `search.{min(unknown)}`")
        stored = content | {
            "name": study_dir.name,
            "out": str(study_dir.directory.parent),
            "base": content["config"],
            "metric": vars(parse_metric(content["metric"])),
        }
        base = content["config"]
        check_config({key: base[key] for key in (*COMPARABILITY_KEYS, _DECIMALS) if key in base}, where)
        settings = msgspec.convert(stored, RunSettings, dec_hook=lambda kind, value: kind(value))
        if wrong := out_of_range(settings):
            raise StorageError(f"`{wrong}` is out of range")
        space = parse(content["space"], settings.params_file.name)
    except UNREADABLE as error:
        raise StorageError(
            f"the manifest is damaged: {value_text(error)}", where=where, fix=_RESTORE
        ) from error
    except TuneError as error:
        raise StorageError(
            f"invalid settings in the manifest: {error.mistakes[0].what}", where=where, fix=_RESTORE
        ) from error
    return settings, space


def _provenance() -> dict[str, Any]:
    return {"command": mask_command(sys.argv), **environment()}


def _write(study_dir: StudyDirectory, content: dict[str, Any]) -> None:
    atomic_write(study_dir.manifest, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
