"""The text of `best.yaml`."""

from __future__ import annotations

from pathlib import Path

from sasrecf_tune.analysis.confirmation import rank_confirmed
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.inputs.config_files import write_config
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Config
from sasrecf_tune.report.choice_text import predicted_text
from sasrecf_tune.report.confirmation_text import interval_text, seeds_text, sentences
from sasrecf_tune.search.plan import base_config, trial_config


def winner_config(winner: Winner, settings: RunSettings, space: SearchSpace) -> Config:
    """Return the RecBole configuration of `winner`, with an absolute `data_path`."""
    record = winner.record
    seed = settings.seed if record.seed is None else record.seed
    config = trial_config(base_config(settings, space), record.params, seed)
    if config.get("data_path"):
        return {**config, "data_path": str(Path(str(config["data_path"])).absolute())}
    return dict(config)


def best_yaml(winner: Winner, settings: RunSettings, space: SearchSpace) -> str:
    """Return a RecBole config file of `winner`; its comment says how it was chosen."""
    metric, confirmation, record = settings.metric, winner.confirmation, winner.record
    if confirmation is None:
        what = f"trial {record.number} of the study {settings.name}: best validation {metric}"
        if record.predicted is not None:
            what = (
                f"trial {record.number} of the study {settings.name}: best predicted validation {metric}\n"
                f"({predicted_text(record, metric)} on any seed) of those trained to their end; it scored"
            )
    else:
        verdict = rank_confirmed(confirmation, settings.metric.maximize, settings.unit)
        what = (
            f"trial {winner.trial} of the study {settings.name}, confirmed on "
            f"{seeds_text(confirmation.seeds)}:\n"
            f"mean validation {metric} {interval_text(verdict.places[0].score, metric)} (95% interval), the "
            f"first of {len(verdict.places)}.\n{sentences(confirmation, verdict)[0]}\n"
            f"The seed here is that of its best run on validation: {metric}"
        )
    config = winner_config(winner, settings, space)
    score = metric.text(record.score)
    if record.best_epoch:
        score += f" at epoch {record.best_epoch} of {record.epochs}"
    imported = f"\nImported from {record.imported}: it was not trained in this study." * bool(record.imported)
    header = (
        f"{config['model']}, {what} {score}.{imported}\n\n"
        "    from recbole.quick_start import run_recbole\n"
        "    run_recbole(config_file_list=['best.yaml'], saved=False)\n\n"
        "saved=False because RecBole 1.2.1 cannot load its own checkpoints with torch 2.6 or later."
    )
    if settings.engine == "fast":
        header += (
            "\nTrained by the engine `fast`. With the same seed RecBole's own trainer draws other dropout\n"
            "masks, so its scores differ as those of two seeds do; without dropout they are the same."
        )
    return write_config(config, header)
