"""The text of README.md in a model directory: what the model is, how it was made, how to use it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from sasrecf_tune.inputs.config_files import write_config
from sasrecf_tune.report.templates import template_environment
from sasrecf_tune.storage.model_directory import ModelManifest, Origin

_PARTS = {
    "train": "the training part of the data; validation chose the epoch",
    "train+valid": "the training and the validation part of the data",
    "all": "all data; nothing is left to measure it on",
}


def model_card(model: ModelManifest) -> str:
    """Return the card in Markdown."""
    environment = template_environment("sasrecf_tune.report.formats", keep_trailing_newline=True)
    environment.filters |= {"plain": _plain}
    return environment.get_template("model_card.md.jinja").render(
        model=model,
        rows=_rows(model),
        users=model.counts.users,
        config=write_config(model.config, "").rstrip(),
    )


def _rows(model: ModelManifest) -> list[tuple[str, str]]:
    """The rows of the table at the top: a name and a value each."""
    origin, counts = model.origin, model.counts
    data = (
        f"{model.dataset}: {counts.users:,} users, {counts.items:,} items, "
        f"{counts.interactions:,} interactions; fingerprint {model.fingerprint}"
    )
    rows = [
        ("model", f"{model.model} (RecBole)"),
        ("item features", ", ".join(each.name for each in model.architecture.features) or "none"),
        ("data", data),
    ]
    if origin.fingerprint:
        of_study = f"{origin.dataset}; fingerprint {origin.fingerprint}: other data"
        rows.append(("data of the study", of_study))
    rows += [("trained on", _PARTS[model.training.on]), ("epochs", _epochs_text(model)), _seed_row(model)]
    if not origin.fingerprint:  # what was measured on other data is no score of this model
        rows.append((f"{origin.metric} on validation", _score_text(origin)))
    rows += _metric_rows("validation", model.valid) + _metric_rows("test", model.test)
    for line in single_models(model):
        name, _, values = line.partition("  ")
        rows.append((name, values))
    return [*rows, ("created", f"{model.created}, sasrecf-tune {model.sasrecf_tune}")]


def _epochs_text(model: ModelManifest) -> str:
    training = model.training
    text = str(training.epochs)
    if training.on != "train" and len(training.best_epochs) > 1:
        low, high = min(training.best_epochs), max(training.best_epochs)
        text += f" (the median best epoch of {len(training.best_epochs)} seeds, {low} to {high})"
    if training.on != "train" and model.origin.fingerprint:
        text += ", found on the study's data"
    return text


def _score_text(origin: Origin) -> str:
    interval = "" if origin.interval is None else f" ± {origin.interval:.4f}"
    over = f"mean of {len(origin.seeds)} fresh seeds" if origin.seeds else "one seed, not confirmed"
    return f"{origin.score:.4f}{interval} ({over})"


def single_models(model: ModelManifest) -> list[str]:
    """Return what the models of an ensemble come to alone, and what their mean gains, as NAME  VALUES."""
    lines = []
    for part, of_all, of_each in (
        ("validation", model.valid, [each.valid for each in model.members]),
        ("test", model.test, [each.test for each in model.members]),
    ):
        alone = {
            key: statistics.fmean(each[key] for each in of_each if key in each) for key in of_all if of_each
        }
        texts = [
            f"{key} {value:.4g}" + (f" (together {of_all[key] / value - 1:+.1%})" if value else "")
            for key, value in alone.items()
        ]
        if texts:
            lines.append(f"{part} of single models, mean of {len(of_each)}  {', '.join(texts)}")
    return lines


def _seed_row(model: ModelManifest) -> tuple[str, str]:
    seeds = [each.seed for each in model.members]
    if not seeds:
        return "seed", str(model.training.seed)
    epochs = ", ".join(str(each.epochs) for each in model.members)
    return "seeds", (
        f"{', '.join(map(str, seeds))}: the mean score of {len(seeds)} models, trained for {epochs} epochs"
    )


def _metric_rows(part: str, metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(f"{key} on {part}, this model", f"{value:g}") for key, value in metrics.items()]


def _plain(text: str) -> str:
    """The text in one line, without what Markdown or HTML would act on."""
    escaped = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|`<[*_":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped
