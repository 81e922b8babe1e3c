"""What is given on the command line, as settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sasrecf_tune.errors import ConfigFileError, DataError, InputError, MistakeCollector
from sasrecf_tune.inputs.config_files import read_base
from sasrecf_tune.inputs.hyperparameters import MODELS, SASRECF
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import read
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import (
    AUTO_FUSE,
    MOST_FUSED,
    Engine,
    Pruner,
    RunSettings,
    Sampler,
    SearchSettings,
    Where,
    parse_duration,
)
from sasrecf_tune.inputs.validation import check_keys, check_model, parameter_mistakes
from sasrecf_tune.storage.directory import default_name, study_directory


def run_settings(
    *,
    params_file: Path,
    space: SearchSpace,
    dataset: str,
    data_path: Path | None,
    config_files: str,
    overrides: Sequence[str],
    model: str | None,
    study: str | None,
    out: Path,
    storage: str | None,
    metric: str | None,
    seed: int | None,
    sampler: Sampler,
    pruner: Pruner,
    trials: int | None,
    timeout: str | None,
    patience: int | None,
    hang_timeout: str | None,
    retries: int,
    fail_fast: bool,
    grace: str,
    checkpoint_every: int,
    confirm: int,
    confirm_seeds: int,
    workers: int | None,
    gpus: str,
    trials_per_gpu: int,
    threads: int | None,
    executor: Where,
    address: str | None,
    fuse: str,
    engine: Engine,
) -> RunSettings:
    """The command line as settings; an option wins over a config file.

    Raises:
        InputError: something given cannot be used.
    """
    model, base = base_settings(space, data_path, dataset, config_files, overrides, model)
    chosen = metric or str(base.pop("valid_metric", "MRR@10"))
    base.pop("valid_metric", None)
    first_seed = seed if seed is not None else int(base.pop("seed", 2020))
    base.pop("seed", None)
    name = study or default_name(dataset, params_file, "" if model == SASRECF else model)
    study_directory(out, name)
    cards = parse_gpus(gpus)
    return RunSettings(
        params_file=params_file,
        name=name,
        out=out.absolute(),
        dataset=dataset,
        base=base,
        metric=parse_metric(chosen),
        seed=first_seed,
        engine=engine,
        model=model,
        storage=storage,
        search=SearchSettings(
            sampler=sampler,
            pruner=pruner,
            trials=trials,
            timeout=parse_duration(timeout) if timeout else None,
            patience=patience,
            hang_timeout=parse_duration(hang_timeout, "--hang-timeout") if hang_timeout else None,
            retries=retries,
            fail_fast=fail_fast,
            grace=parse_duration(grace, "--grace"),
            checkpoint_every=checkpoint_every,
            confirm=confirm,
            confirm_seeds=confirm_seeds,
        ),
        workers=worker_count(workers, cards, trials_per_gpu, executor),
        gpus=cards,
        executor=executor,
        address=cluster_address(address, executor),
        threads=threads,
        trials_per_gpu=trials_per_gpu,
        fuse=parse_fuse(fuse, engine),
    )


def read_space(
    params_file: Path, config_files: str, overrides: Sequence[str], model: str | None
) -> SearchSpace:
    """The search space in a params file, for the model that --model or a config file names.

    Raises:
        InputErrors: all mistakes of the params file, the config files and the --set options.
        InputError: the only one.
    """
    base: dict[str, Any] = {}
    with MistakeCollector() as mistakes:
        with mistakes.collect():
            base = read_base([Path(name) for name in config_files.split()], overrides)
        named = model or base.get("model")
        check = partial(parameter_mistakes, model=named if named in MODELS else SASRECF)
        return read(params_file, check)


def base_settings(
    space: SearchSpace,
    data_path: Path | None,
    dataset: str,
    config_files: str,
    overrides: Sequence[str],
    model: str | None,
) -> tuple[str, dict[str, Any]]:
    """The model, and the rest of config files and --set options, with --data-path put as RecBole takes it.

    The model is that of --model, else the config files', else SASRecF.

    Raises:
        InputError: unreadable, not allowed, or in conflict with the search space or the options.
        InputErrors: several of these.
    """
    base = read_base([Path(name) for name in config_files.split()], overrides)
    given = dict.fromkeys(text.partition("=")[0].strip() for text in overrides)
    named = base.pop("model", None)
    chosen = str(model or named or SASRECF)
    with MistakeCollector() as mistakes:
        for key in given:
            if key in space.names:
                what = f"`{key}` is searched in {space.source} and also set"
                mistakes.add(ConfigFileError(what, where="--set", fix="Keep one of the two."))
        if model is not None and named not in (None, model):
            what = f"a config file names another model, {named!r}"
            mistakes.add(ConfigFileError(what, where=f"--model {model}", fix="Keep one of the two."))
        with mistakes.collect():
            check_model(chosen)
            for where, keys in (("--set", set(given)), ("--config-files", set(base) - set(given))):
                with mistakes.collect():
                    check_keys([key for key in base if key in keys], chosen, where)
        if base.pop("dataset", dataset) != dataset:
            what = "a config file names another data set than --dataset"
            mistakes.add(ConfigFileError(what, fix=f"The run would take {dataset!r}."))
    if data_path is not None:
        base["data_path"] = recbole_data_path(data_path, dataset)
    return chosen, base


def recbole_data_path(data_path: Path, dataset: str) -> str:
    """--data-path as RecBole takes it: the parent; the directory with the files themselves is as clear.

    Raises:
        DataError: it cannot be looked into.
    """
    try:
        holds_files = (data_path / f"{dataset}.inter").is_file() and data_path.resolve().name == dataset
    except OSError as error:  # a name that is too long, or a directory that may not be looked into
        raise DataError(f"cannot read: {error.strerror}", where=str(data_path)) from error
    return str(data_path.resolve().parent if holds_files else data_path)


def parse_gpus(text: str) -> tuple[str, ...]:
    """ "auto" (the first card there is), "none" (the CPU), or indices such as "0,1".

    Raises:
        InputError: none of these.
    """
    if text == "auto":
        return ()
    if text in {"none", ""}:
        return ("",)
    cards = tuple(part.strip() for part in text.split(","))
    if not all(card.isdigit() for card in cards):
        raise InputError(f"{text!r} names no cards", where="--gpus", fix="Write auto, none, or numbers: 0,1.")
    return cards


def parse_fuse(text: str, engine: Engine) -> int:
    """ "auto" (`AUTO_FUSE`) or how many trials, 1 for each by itself.

    Raises:
        InputError: neither, or the engine cannot.
    """
    if text != "auto" and not (text.isdecimal() and 1 <= int(text) <= MOST_FUSED):
        raise InputError(
            f"{text!r} is no number of trials",
            where="--fuse",
            fix=f"Write auto, or a number from 1 to {MOST_FUSED}.",
        )
    if text != "1" and engine == "recbole":
        raise InputError(
            "RecBole's own trainer trains each trial by itself",
            where=f"--fuse {text} --engine recbole",
            fix="Use --engine fast, or leave --fuse out.",
        )
    return AUTO_FUSE if text == "auto" else int(text)


def cluster_address(address: str | None, executor: Where) -> str:
    """--address, which is a cluster's.

    Raises:
        InputError: there is no cluster.
    """
    if address is not None and executor != "ray":
        raise InputError(
            "workers on this machine have no address", where=f"--address {address}", fix="Add --executor ray."
        )
    return address or "auto"


def with_executor(settings: RunSettings, executor: Where | None, address: str | None) -> RunSettings:
    """The settings of a study, with another executor or address where they are given.

    Raises:
        InputError: an address without a cluster, or cards of this machine with one.
    """
    where = executor or settings.executor
    if where != settings.executor:
        worker_count(settings.workers, settings.gpus, 1, where)
    cluster = cluster_address(address, where)
    return replace(settings, executor=where, address=cluster if address else settings.address)


def worker_count(
    workers: int | None, gpus: tuple[str, ...], trials_per_gpu: int, executor: Where = "local"
) -> int:
    """How many workers: as many as given, else `trials_per_gpu` for each card; on a cluster as many as given.

    Raises:
        InputError: there are no cards to share, or the numbers are missing or at odds.
    """
    if trials_per_gpu > 1 and gpus == ("",):
        raise InputError(
            "there is no card to share",
            where=f"--trials-per-gpu {trials_per_gpu} --gpus none",
            fix="On the CPU, --workers says how many trials are trained at the same time.",
        )
    if executor == "ray":
        if any(gpus):
            raise InputError(
                "Ray chooses the cards on its nodes",
                where=f"--gpus {','.join(gpus)}",
                fix="Leave it out, or write --gpus none. --trials-per-gpu says how many share a card.",
            )
        if workers is None:
            raise InputError(
                "how many workers shall the cluster have?",
                where="--executor ray",
                fix="Add --workers N: so many trials are trained at the same time, where there is room.",
            )
        return workers
    cards = max(1, len(gpus))
    if workers is None:
        return cards * trials_per_gpu
    if trials_per_gpu > 1 and workers != cards * trials_per_gpu:
        raise InputError(
            f"{cards} card{'s' * (cards > 1)} with {trials_per_gpu} trials each are not {workers} workers",
            where="--workers",
            fix="Give one of --workers and --trials-per-gpu.",
        )
    return workers
