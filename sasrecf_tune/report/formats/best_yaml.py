"""The text of `best.yaml`."""

from __future__ import annotations

from sasrecf_tune.analysis.confirmation import rank_confirmed
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Config
from sasrecf_tune.report.confirmation_text import interval_text, seeds_text, sentences
from sasrecf_tune.report.formats.trials import best_yaml, reproducing
from sasrecf_tune.search.plan import base_config, trial_config


def chosen_config(chosen: Winner, settings: RunSettings, space: SearchSpace) -> Config:
    """RecBole's configuration of what was chosen."""
    record = chosen.record
    seed = settings.seed if record.seed is None else record.seed
    return reproducing(trial_config(base_config(settings, space), record.params, seed))


def chosen_yaml(chosen: Winner, settings: RunSettings, space: SearchSpace) -> str:
    """A RecBole config file of what was chosen, which says how."""
    confirmed, metric = "", str(settings.metric)
    if chosen.confirmation is not None:
        verdict = rank_confirmed(chosen.confirmation, settings.metric.maximize, settings.unit)
        confirmed = (
            f"trial {chosen.trial} of the study {settings.name}, confirmed on "
            f"{seeds_text(chosen.confirmation.seeds)}:\n"
            f"mean validation {metric} {interval_text(verdict.places[0].score)} (95% interval), the first of "
            f"{len(verdict.places)}.\n{sentences(chosen.confirmation, verdict)[0]}\n"
            f"The seed here is that of its best run on validation: {metric}"
        )
    config = chosen_config(chosen, settings, space)
    return best_yaml(config, chosen.record, metric, settings.name, settings.engine, confirmed)
