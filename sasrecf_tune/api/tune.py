"""Runs a search from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.api import session
from sasrecf_tune.api.arguments import check_arguments
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.api.space import SearchSpace
from sasrecf_tune.api.study import Study, search
from sasrecf_tune.inputs.settings import SEEDS, Engine, Pruner, Sampler, Tracker, Where


def tune(
    space: SearchSpace | Mapping[str, Any],
    *,
    dataset: str | None = None,
    data_path: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    config_files: str | Path | Sequence[str | Path] = (),
    model: str | None = None,
    study: str | None = None,
    out: str | Path = "tuning",
    storage: str | None = None,
    metric: str | None = None,
    seed: int | None = None,
    sampler: Sampler = "auto",
    pruner: Pruner = "auto",
    trials: int | None = None,
    timeout: float | str | None = None,
    patience: int | None = None,
    until: float | str = "1",
    hang_timeout: float | str | None = None,
    retries: int = 1,
    fail_fast: bool = False,
    grace: float | str = "25s",
    checkpoint_every: int = 0,
    keep_paused: int | str = "5GB",
    confirm: int = 0,
    confirm_seeds: int = SEEDS,
    prior: str | Path | Sequence[str | Path] = (),
    import_trials: str | Path | Sequence[str | Path] = (),
    trust: bool = False,
    per_user: bool = False,
    workers: int | None = None,
    gpus: str | int | Sequence[int | str] = "auto",
    trials_per_gpu: int = 1,
    threads: int | None = None,
    executor: Where = "local",
    address: str | None = None,
    fuse: int | str = "1",
    engine: Engine = "fast",
    log: Tracker | Sequence[Tracker] = (),
    fresh: bool = False,
    callbacks: Sequence[object] = (),
    progress: bool = True,
) -> Study:
    """Search, and return the study; the same call again continues it.

    The study directory is the one that `sasrecf-tune run` makes. An argument that is not listed here is the
    option of that name. The call returns when the search has ended. Ctrl-C, or the notebook's stop button,
    ends it after the running epochs; a second one ends it at once.

    Args:
        space: The search space, from `SearchSpace` or `read_params_file`, or a mapping for `SearchSpace`.
        config: RecBole settings for all trials, such as `{"epochs": 50}`.
        config_files: RecBole YAML files; a later one wins, and `config` over all of them.
        study: The study's name. Default: the data set and the name of the params file, or "space" for a space
            written in Python.
        timeout: Seconds, or text such as "90m"; `hang_timeout` and `grace` too.
        until: A number of standard deviations between seeds, or "never".
        keep_paused: Bytes, or text such as "5GB".
        prior: The name or directory of an earlier study, or several.
        import_trials: A hyper.result or trials.csv file, an Optuna database as a file or address, or several.
        gpus: "auto", "none", the index or the name of a GPU, or several of them.
        log: Trackers that each trial is logged to: "tensorboard", "mlflow", "wandb".
        fresh: Delete an existing study of this name first. Nobody is asked.
        callbacks: Objects with any of the methods `on_trial_start(number, params)`, `on_report(report)` and
            `on_trial_end(record)`. An exception in one ends the search; results are kept.
        progress: Show progress: a live view on a terminal and in a notebook, else a line for each event.

    Raises:
        InputError: An argument, the space or the data cannot be used; raised before anything is trained.
        TuneError: No trial has completed and some have failed, or `fail_fast` ended the search.
        KeyboardInterrupt: The search was interrupted; what has ended is kept.

    Example:
        >>> import sasrecf_tune as st
        >>> space = st.SearchSpace({"learning_rate": [0.01, 0.001]})
        >>> study = st.tune(space, trials=2, config={"epochs": 5})  # doctest: +SKIP
        >>> study.best.params  # doctest: +SKIP
        {'learning_rate': 0.01}
    """
    given = locals()
    check_arguments(tune, given)
    options = {
        name: value
        for name, value in given.items()
        if name not in ("space", "config", "callbacks", "progress", "fresh")
    }
    plain = (space if isinstance(space, SearchSpace) else SearchSpace(space)).plain()
    with keyword_names():
        settings = session.run_settings(plain, config or {}, options)
    return search(settings, plain, callbacks, progress, fresh=fresh)
