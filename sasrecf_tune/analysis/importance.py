"""Which parameters mattered: Optuna's fANOVA."""

from __future__ import annotations

from dataclasses import dataclass

from sasrecf_tune.analysis.numeric_study import numeric_study
from sasrecf_tune.analysis.report_data import ReportData

# From fewer completed trials a forest learns chance.
LEAST_TRIALS = 10
# A forest of this size takes under a second for 1,000 trials, and ranks parameters as Optuna's default does,
# which takes 20.
_TREES, _DEPTH = 32, 6


@dataclass(frozen=True)
class Importance:
    """Each parameter's share (0 to 1, greatest first) of the scores' variance that single parameters explain.

    `trials` is how many completed trials it was learned from.
    """

    shares: dict[str, float]
    trials: int


def importance(material: ReportData) -> Importance | None:
    """None where there are too few completed trials, or nothing that differs among them."""
    import optuna

    ranked = material.ranked
    names = [n for n in material.varied if len({repr(record.params.get(n)) for record in ranked}) > 1]
    if len(ranked) < LEAST_TRIALS or not names or len({record.score for record in ranked}) == 1:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0)
    study = numeric_study(ranked, names, material.space, material.metric.maximize)
    return Importance(optuna.importance.get_param_importances(study, evaluator=evaluator), len(ranked))
