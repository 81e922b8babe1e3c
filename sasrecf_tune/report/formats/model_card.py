"""The text of README.md in a model directory: what the model is, how it was made, how to use it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from sasrecf_tune.inputs.config_files import write_config
from sasrecf_tune.report.text import count_text
from sasrecf_tune.storage.model_directory import ModelManifest
from sasrecf_tune.trials import cell_text

_PARTS = {
    "train": "the training part of the data; validation chose the epoch",
    "train+valid": "the training and the validation part of the data",
    "all": "all data; nothing is left to measure it on",
}
_OTHER_DATA = (
    "The configuration was found on other data than this model was trained on. The scores in this section "
    "were measured on the data of the study, with other models: they say nothing of this one."
)


def model_card(model: ModelManifest) -> str:
    """Return the card in Markdown."""
    origin, training, counts = model.origin, model.training, model.counts
    features = ", ".join(each.name for each in model.architecture.features) or "none"
    score = f"{origin.score:.4f}"
    if origin.interval is not None:
        score += f" ± {origin.interval:.4f}"
    over = f"mean of {len(origin.seeds)} fresh seeds" if origin.seeds else "one seed, not confirmed"
    epochs = str(training.epochs)
    if training.on != "train" and len(training.best_epochs) > 1:
        low, high = min(training.best_epochs), max(training.best_epochs)
        epochs += f" (the median best epoch of {len(training.best_epochs)} seeds, {low} to {high})"
    if training.on != "train" and origin.fingerprint:
        epochs += ", found on the study's data"
    # What was measured on other data is no score of this model.
    found = [] if origin.fingerprint else [(f"{origin.metric} on validation", f"{score} ({over})")]
    rows = [
        ("model", f"{model.model} (RecBole)"),
        ("item features", features),
        (
            "data",
            f"{model.dataset}: {counts.users:,} users, {counts.items:,} items, "
            f"{counts.interactions:,} interactions; fingerprint {model.fingerprint}",
        ),
        *(
            [("data of the study", f"{origin.dataset}; fingerprint {origin.fingerprint}: other data")]
            if origin.fingerprint
            else []
        ),
        ("trained on", _PARTS[training.on]),
        ("epochs", epochs),
        _seed_row(model),
        *found,
        *_metric_rows("validation", model.valid),
        *_metric_rows("test", model.test),
        *(tuple(line.split("  ", 1)) for line in single_models(model)),
        ("created", f"{model.created}, sasrecf-tune {model.sasrecf_tune}"),
    ]
    lines = [
        f"# {model.model} on {_plain(model.dataset)}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {_plain(name)} | {_plain(value)} |" for name, value in rows),
        "",
        "## How it was found",
        "",
        *([_OTHER_DATA, ""] if origin.fingerprint else []),
        _plain(origin.how),
        "",
        f"Searched parameters of trial {origin.trial} of the study {_plain(origin.study)}:",
        "",
        *(f"- `{name}`: {_plain(cell_text(value))}" for name, value in origin.params.items()),
        "",
        "## How to use it",
        "",
        "```bash",
        "sasrecf-tune recommend ./ --top 10 -o recommendations.csv",
        "sasrecf-tune recommend ./ --histories histories.csv -o recommendations.csv",
        "```",
        "",
        "```python",
        "import sasrecf_tune",
        "",
        'model = sasrecf_tune.load_model(".")',
        'model.recommend({"a user": ["an item", "another item"]}, top=10)',
        "```",
        "",
        "## Files",
        "",
        "- `weights.safetensors`: the parameters, by the names of RecBole's model"
        + (
            f"; those of the other models in weights-2 to weights-{len(model.members)}"
            if model.members
            else ""
        ),
        "- `data.safetensors`: item features, and "
        + (f"the histories of {count_text(counts.users, 'user')}" if counts.users else "no histories"),
        "- `ids.json`: the original ids of users and items, by row",
        "- `model.json`: architecture, configuration, metrics, versions, fingerprint of the data",
        "",
        "## Configuration",
        "",
        "```yaml",
        write_config(model.config, "").rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


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
