"""Converts command-line options to settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import ConfigFileError, DataError, InputError, MistakeCollector
from sasrecf_tune.inputs.config_files import BaseConfig, config_paths, read_base
from sasrecf_tune.inputs.hyperparameters import BUILTIN_DATASET, MODELS, SASRECF
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import read
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import (
    ConfigOptions,
    EarlierOptions,
    Engine,
    RunSettings,
    SearchSettings,
    Where,
)
from sasrecf_tune.inputs.validation import check_model, space_mistakes
from sasrecf_tune.storage.directory import StudyDirectory, check_new_name, default_name, find_study
from sasrecf_tune.storage.manifest import settings_from
from sasrecf_tune.storage.recorded_addresses import check_recorded_cluster, database_address


def run_settings(space: SearchSpace, config: BaseConfig, given: Mapping[str, Any]) -> RunSettings:
    """Build the settings from the options of `run`, by field; an option overrides a config file.

    Args:
        space: The search space.
        config: The settings of config files and `--set`, as `read_config` returns them.
        given: The options.

    Raises:
        InputError: An option is invalid or contradicts another.
    """
    options = dict(given)
    search = SearchSettings(**{field.name: options.pop(field.name) for field in fields(SearchSettings)})
    earlier = EarlierOptions(**{field.name: options.pop(field.name) for field in fields(EarlierOptions)})
    check_trust(earlier)
    model, base = base_settings(space, config, options)
    for field in fields(ConfigOptions):
        del options[field.name]
    metric, seed = base.pop("valid_metric", "MRR@10"), base.pop("seed", 2020)
    params_file, executor = options["params_file"], options["executor"]
    dataset = chosen_dataset(config, given)
    name = options["name"] or default_name(dataset, params_file, "" if model == SASRECF else model)
    check_new_name(name)
    check_fuse(options["fuse"], options["engine"])
    check_workers(options["workers"], options["gpus"], options["trials_per_gpu"], executor)
    computed = {
        "base": base,
        "sources": {key: source for key, source in config.sources.items() if key in base},
        "model": model,
        "dataset": dataset,
        "name": name,
        "out": options["out"].absolute(),
        "metric": options["metric"] or parse_metric(str(metric), config.sources.get("valid_metric", "")),
        "seed": int(seed) if options["seed"] is None else options["seed"],
        "search": search,
        "earlier_work": earlier,
        "address": cluster_address(options["address"], executor),
    }
    return RunSettings(**options | computed)


def study_settings(
    out: Path, study: str | None, storage: str | None, given: Mapping[str, Any]
) -> tuple[StudyDirectory, RunSettings, SearchSpace]:
    """Find a study and read its settings and space; the options that are not None replace settings.

    Raises:
        TuneError: The study does not exist, or an option is invalid.
    """
    study_dir = find_study(out, study)
    return study_dir, *changed_settings(study_dir, storage, given)


def changed_settings(
    study_dir: StudyDirectory, storage: str | None, given: Mapping[str, Any]
) -> tuple[RunSettings, SearchSpace]:
    """Read the settings and space of a study; the options that are not None replace settings.

    Raises:
        TuneError: The manifest cannot be read, or an option is invalid.
    """
    settings, space = settings_from(study_dir)
    return override_settings(replace(settings, storage=database_address(settings, storage)), given), space


def override_settings(settings: RunSettings, given: Mapping[str, Any]) -> RunSettings:
    """Replace the settings of a study by the options that are not None.

    Raises:
        InputError: An address without a cluster, or GPUs of this machine with one.
    """
    new = {name: value for name, value in given.items() if value is not None}
    search = {name: new.pop(name) for name in list(new) if hasattr(settings.search, name)}
    if "gpus" in new and settings.workers == max(1, len(settings.gpus)) * settings.trials_per_gpu:
        new = {"workers": None} | new  # their number was that of the other GPUs
    if new.get("gpus") == ("",):
        new["trials_per_gpu"] = 1
    changed = replace(settings, search=replace(settings.search, **search), **new)
    cluster_address(new.get("address"), changed.executor)
    check_recorded_cluster(changed, new.get("address"))
    if changed.executor != settings.executor or "gpus" in new:
        check_workers(changed.workers, changed.gpus, 1, changed.executor)
    return changed


def read_config(given: Mapping[str, Any]) -> BaseConfig:
    """Read the config files and `--set` options.

    Raises:
        InputError: A file or an option is invalid.
        InputErrors: Several are.
    """
    config = BaseConfig()
    files: list[Path] = []
    with MistakeCollector() as mistakes:
        for text in given["config_files"]:
            with mistakes.collect():
                files += config_paths(text)
        with mistakes.collect():
            config = read_base(files, given["overrides"])
    return config


def read_inputs(params_file: Path, given: Mapping[str, Any]) -> tuple[SearchSpace, BaseConfig]:
    """Read the params file, the config files and the `--set` options, each once: a pipe has no second time.

    The params file is checked for the model that `--model` or a config file names.

    Returns:
        The search space, and the settings as `read_config` returns them.

    Raises:
        InputErrors: Several mistakes of all these.
        InputError: The only one.
    """
    config = BaseConfig()
    with MistakeCollector() as mistakes:
        with mistakes.collect():
            config = read_config(given)
        named = given["model"] or config.get("model")
        check = partial(space_mistakes, model=named if named in MODELS else SASRECF)
        return read(params_file, check), config


def base_settings(
    space: SearchSpace, config: BaseConfig, given: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Check the settings of config files and `--set` against the search space and the other options.

    Args:
        space: The search space.
        config: The settings, as `read_config` returns them.
        given: The options, by field.

    Returns:
        The model (`--model`, else that of the config files, else SASRecF), and the other settings, with
        the directory of `--data-path`, else of the config files, as RecBole's `data_path`.

    Raises:
        InputError: A setting is not allowed or contradicts the search space or an option.
        InputErrors: Several of these.
    """
    base = dict(config)
    dataset, model = chosen_dataset(config, given), given["model"]
    overridden = [key for key, source in config.sources.items() if source == "--set"]
    named = base.pop("model", None)
    chosen = str(model or named or SASRECF)
    with MistakeCollector() as mistakes:
        for key in overridden:
            if key in space.names:
                what = f"`{key}` is searched in {space.source} and also set"
                mistakes.add(ConfigFileError(what, where="--set", fix="Remove one of them."))
        for key, noun in (("model", "model"), ("dataset", "data set")):
            setting, option = config.get(key), given[key]
            if None not in (setting, option) and setting != option:
                what = f"names the {noun} {setting!r}, but `--{key}` is {option!r}"
                mistakes.add(ConfigFileError(what, where=config.sources[key], fix="Remove one of them."))
        with mistakes.collect():
            check_model(chosen, "--model" if model else config.sources.get("model", "--model"))
    base.pop("dataset", None)
    data_path = base.pop("data_path", None) if given["data_path"] is None else given["data_path"]
    if data_path is not None:
        base["data_path"] = recbole_data_path(data_path, dataset)
    return chosen, base


def chosen_dataset(config: BaseConfig, given: Mapping[str, Any]) -> str:
    """The data set of `--dataset`, else that of the config files, else RecBole's example."""
    named = config.get("dataset") if given["dataset"] is None else given["dataset"]
    return BUILTIN_DATASET if named is None else str(named)


def recbole_data_path(data_path: Path | str, dataset: str) -> str:
    """Return RecBole's `data_path`, the parent of the directory with the files.

    Either of the two directories is accepted.

    Raises:
        DataError: The directory cannot be read.
    """
    try:
        path = Path(data_path).resolve()
        holds_files = (path / f"{dataset}.inter").is_file() and path.name == dataset
    except OSError as error:  # the name is too long, or access is denied
        raise DataError(f"cannot read: {error.strerror}", where=str(data_path)) from error
    except ValueError as error:  # a NUL in the name
        raise DataError("not the name of a directory", where=repr(str(data_path))) from error
    return str(path.parent if holds_files else data_path)


def check_fuse(fuse: int, engine: Engine) -> None:
    """Check that the engine can train trials as one model.

    Raises:
        InputError: It cannot.
    """
    if fuse != 1 and engine == "recbole":
        raise InputError(
            "RecBole's own trainer trains one trial at a time",
            where=f"--fuse {fuse or 'auto'} --engine recbole",
            fix="Use --engine fast, or remove --fuse.",
        )


def check_trust(earlier: EarlierOptions) -> None:
    """Check that there is something to trust.

    Raises:
        InputError: There is not.
    """
    if earlier.trust and not (earlier.prior or earlier.import_trials):
        raise InputError(
            "`--trust` requires `--prior` or `--import-trials`",
            where="--trust",
            fix="Name the earlier search, or remove --trust.",
        )


def cluster_address(address: str | None, executor: Where) -> str:
    """Return the address of the Ray cluster, "auto" by default.

    Raises:
        InputError: An address is given, but the executor is not Ray.
    """
    if address is not None and executor != "ray":
        raise InputError(
            "`--address` requires `--executor ray`", where=f"--address {address}", fix="Add --executor ray."
        )
    return address or "auto"


def check_workers(
    workers: int | None, gpus: tuple[str, ...], trials_per_gpu: int, executor: Where = "local"
) -> None:
    """Check that the options about workers agree.

    Raises:
        InputError: The numbers contradict each other, no GPU can be shared, or Ray has no `workers`.
    """
    if trials_per_gpu > 1 and gpus == ("",):
        raise InputError(
            "no GPU to share",
            where=f"--trials-per-gpu {trials_per_gpu} --gpus none",
            fix="On the CPU, --workers sets how many trials are trained at the same time.",
        )
    if executor == "ray":
        if any(gpus):
            raise InputError(
                "Ray assigns the GPUs of its nodes",
                where=f"--gpus {','.join(gpus)}",
                fix="Remove it, or use --gpus none. --trials-per-gpu sets how many trials share a GPU.",
            )
        if workers is None:
            raise InputError(
                "`--executor ray` requires `--workers`",
                fix="Add --workers N, the number of trials to train at the same time.",
            )
        return
    count = max(1, len(gpus))
    if workers is not None and trials_per_gpu > 1 and workers != count * trials_per_gpu:
        raise InputError(
            f"{count} GPU{'s' * (count > 1)} with {trials_per_gpu} trials each, but {workers} workers",
            where="--workers",
            fix="Use only one of --workers and --trials-per-gpu.",
        )
