"""`sasrecf-tune fit`: train the configuration of best.yaml for use, and write it as a model directory."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from sasrecf_tune.analysis.confirmation import rank_confirmed
from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.cli.session import Display
from sasrecf_tune.cli.winner_training import (
    check_same_data,
    imported_text,
    read_winner,
    train_winner,
    winner_name,
)
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import DataSummary, Deployment, TrainOn
from sasrecf_tune.report.confirmation_text import interval_text, seeds_text, sentences
from sasrecf_tune.report.formats.best_yaml import winner_config
from sasrecf_tune.report.formats.model_card import model_card, single_models
from sasrecf_tune.report.text import count_text
from sasrecf_tune.storage.directory import StudyDirectory, relative
from sasrecf_tune.storage.directory_swap import replace_directory, staging_directory
from sasrecf_tune.storage.files import output_error, refuse_links
from sasrecf_tune.storage.manifest import read_manifest
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.storage.model_directory import ModelDirectory
from sasrecf_tune.trials import ENDED, State


def fit_study(
    study_dir: StudyDirectory,
    console: Console,
    *,
    on: TrainOn = "train+valid",
    seed: int | None = None,
    seeds: int = 1,
    output: Path | None = None,
    storage: str | None = None,
    data_path: Path | None = None,
    dataset: str | None = None,
    gpus: tuple[str, ...] | None = None,
    per_user: bool = False,
    as_json: bool = False,
) -> int:
    """Train the winner on parts of the data, and write the model directory.

    Args:
        seed: None for that of best.yaml.
        seeds: The number of models, with consecutive seeds, whose scores are averaged.
        output: The model directory; None for `model` in the study directory.
        storage, gpus: As in `read_winner`.
        data_path, dataset: As in `read_winner`; if either is given, the data may be others than the study's.
        per_user: Whether the metrics of each user are written to the model directory, too.

    Returns:
        The exit code, 0.

    Raises:
        StudyNotFoundError: No trial has completed.
        InputError: The output is no model directory, or the data set is another one and was not named.
        TuneError: The training or the writing failed.
    """
    if per_user and on == "all":
        raise InputError(
            "with `--on all` nothing is held out: there are no metrics of users",
            where="--per-user",
            fix="Remove it, or use --on train+valid.",
        )
    target = study_dir.model if output is None else output.absolute()
    _check_target(target)
    if output is None:
        refuse_links(study_dir.directory, "the model would be written there")
    found = read_winner(study_dir, storage, data_path, gpus, dataset)
    winner, settings, space = found.winner, found.settings, found.space
    manifest = read_manifest(study_dir, Planned)
    display = Display(console, as_json)
    if found.results.renamed:
        display.note(found.results.renamed)
    config = winner_config(winner, settings, space)
    if seed is not None:
        config |= {"seed": seed}
    best_epochs = _best_epochs(winner)
    epochs = None
    if on != "train" and not all(best_epochs):
        raise InputError(
            f"{winner_name(winner)} was imported from {winner.record.imported} without its best epoch",
            where=f"--on {on}",
            fix=f"Use --on train, or first run: sasrecf-tune confirm {study_dir.arguments}",
        )
    if on != "train":
        epochs = statistics.median_low(best_epochs)
        config |= {"epochs": epochs}
    models = _seeds(int(config["seed"]), seeds)
    display.line(f"training {winner_name(winner)} for use, {_seeds_text(models)}")
    if imported := imported_text(winner):
        display.line(imported)
    display.line(_plan_text(on, best_epochs, epochs))
    facts: dict[str, Any] = {
        "engine": settings.engine,
        "best_epochs": best_epochs,
        "dataset": settings.dataset,
        "origin": _origin(winner, found.results, settings, space, manifest),
    }
    with staging_directory(target) as staging:

        def deployment(data: DataSummary) -> Deployment:
            if (dataset, data_path) == (None, None):
                check_same_data(data, manifest, " To train on this one, name its directory there.")
            other = _other_data(data, manifest)
            if other:
                display.note(_other_data_text(data, other, epochs))
            more = {"fingerprint": data.fingerprint, "origin": facts["origin"] | other}
            return Deployment(on, staging, facts | more, models if seeds > 1 else ())

        result = train_winner(
            winner,
            # On the training part the metrics of the trial are to be reproduced.
            found.origin.threads if on == "train" else 0,
            config,
            settings,
            space,
            manifest,
            display,
            epochs=epochs,
            deployment=deployment,
            per_user=ModelDirectory(staging).per_user if per_user else None,
        )
        made = ModelDirectory(staging)
        written = made.read_manifest()
        made.card.write_text(model_card(written), encoding="utf-8")
        try:
            replace_directory(staging, target)
        except OSError as error:
            raise output_error(target, error) from error
    for kind, metrics in (("validation", result.valid), ("test", result.test)):
        if metrics:
            display.line(f"{kind}  " + ", ".join(f"{key} {value:g}" for key, value in metrics.items()))
    for line in single_models(written):
        display.line(line)
    if on == "all":
        display.line("Nothing was measured: the model was trained on the test part, too.")
    display.line(f"wrote {relative(target)}", "green")
    display.emit(
        "fitted",
        directory=str(target),
        on=on,
        epochs=result.best_epoch,
        best_epochs=best_epochs,
        seed=config["seed"],
        fingerprint=written.fingerprint,
        members=[msgspec.to_builtins(each) for each in written.members],
        valid=result.valid,
        test=result.test,
    )
    return 0


def _seeds(first: int, count: int) -> tuple[int, ...]:
    """Return `count` seeds from `first` on.

    Raises:
        InputError: One would be larger than RecBole takes.
    """
    if first + count > 2**32:
        raise InputError(f"the last of {count} seeds from {first} is too large", where="--seeds")
    return tuple(range(first, first + count))


def _seeds_text(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return (
        f"{len(seeds)} models one after another, seeds {seeds[0]} to {seeds[-1]}; their scores are averaged"
    )


def _check_target(target: Path) -> None:
    """Check that nothing but a model would be replaced.

    Raises:
        InputError: Something else is there, or its parent is not a directory.
    """
    if not target.parent.is_dir():
        raise InputError(
            f"there is no directory {target.parent}",
            where=str(target),
            fix="Create it, or choose another one.",
        )
    if not target.exists() and not target.is_symlink():
        return
    what = "this is not a directory"
    if target.is_dir() and not target.is_symlink():
        names = {path.name for path in target.iterdir()}
        others = names - {path.name for path in ModelDirectory(target).written}
        if not others and (not names or ModelDirectory(target).manifest.name in names):
            return
        what = "this directory has other files than those of a model"
        what += f", such as {min(others)}" if others else ""
    raise InputError(what, where=str(target), fix="It would be replaced as a whole: choose another name.")


def _best_epochs(winner: Winner) -> list[int]:
    """The best epoch of each run of the winner's configuration on the training part."""
    if winner.confirmation is None:
        return [winner.record.best_epoch]
    runs = sorted(winner.confirmation.runs.items())
    completed = [record for (trial, _), record in runs if trial == winner.trial]
    return [record.best_epoch for record in completed if record.state == State.COMPLETE]


def _plan_text(on: TrainOn, best_epochs: Sequence[int], epochs: int | None) -> str:
    if on == "train":
        return "on the training part, with early stopping on the validation part, as in the search"
    parts = "the training and the validation part" if on == "train+valid" else "all data"
    if len(best_epochs) == 1:
        return f"on {parts}, {count_text(epochs or 0, 'epoch')}: the best one of the trial"
    low, high = min(best_epochs), max(best_epochs)
    spread = f"{low} to {high}" if low < high else "which are equal"
    return (
        f"on {parts}, {count_text(epochs or 0, 'epoch')}: the median of the best ones on {len(best_epochs)} "
        f"seeds, {spread}"
    )


def _other_data(data: DataSummary, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The study's data set as model.json names it, if `data` is another one; else empty."""
    recorded = manifest["data"]["fingerprint"]
    if data.fingerprint == recorded:
        return {}
    return {"dataset": str(manifest["dataset"]), "fingerprint": str(recorded)}


def _other_data_text(data: DataSummary, other: Mapping[str, str], epochs: int | None) -> str:
    taken = "The configuration is" if epochs is None else "The configuration and the number of epochs are"
    return (
        f"other data than the study's: {data.dataset} (fingerprint {data.fingerprint}), not "
        f"{other['dataset']} ({other['fingerprint']}). {taken} the study's; its scores were measured on its "
        "data, and say nothing of this model"
    )


def _origin(
    winner: Winner, results: Results, settings: RunSettings, space: SearchSpace, manifest: dict[str, Any]
) -> dict[str, Any]:
    """How the configuration was found, as model.json says it."""
    metric, confirmation = settings.metric, winner.confirmation
    ended = sum(record.state in ENDED for record in results.records)
    how = (
        f"The search had {count_text(ended, 'trial')} (sampler {manifest['sampler']}, pruner "
        f"{manifest['pruner']['name']}), ranked by {metric} on the validation part."
    )
    found: dict[str, Any] = {
        "study": settings.name,
        "metric": str(metric),
        "trial": winner.trial,
        "params": {name: value for name, value in winner.record.params.items() if name in space.names},
    }
    if winner.record.imported:
        how += f" The winner was imported from {winner.record.imported}."
    if confirmation is None:
        how += " The winner was not confirmed on other seeds: its score is partly luck."
        return found | {"score": winner.record.score, "how": how}
    verdict = rank_confirmed(confirmation, metric.maximize, settings.unit)
    score = verdict.places[0].score
    how += (
        f" The best {len(verdict.places)} were trained again on {seeds_text(confirmation.seeds)}; the mean "
        f"of this one is {interval_text(score, metric)} (95% interval). {sentences(confirmation, verdict)[0]}"
    )
    more = {"score": score.mean, "interval": score.half_interval, "seeds": list(confirmation.seeds)}
    return found | more | {"how": how}
