"""Parameter importance."""

from __future__ import annotations

from dataclasses import dataclass

from sasrecf_tune.analysis.numeric_study import numeric_study
from sasrecf_tune.analysis.report_data import ReportData

# With fewer completed trials the forest would fit noise.
LEAST_TRIALS = 10
# Why the shares of optuna-dashboard are others.
DASHBOARD_DIFFERS = (
    "optuna-dashboard shows other shares (PED-ANOVA): what sets the best tenth of the trials apart, not what "
    "explains all scores"
)
# Under a second for 1,000 trials, against 20 seconds with Optuna's defaults, which rank parameters alike.
_TREES, _DEPTH = 32, 6


@dataclass(frozen=True)
class Importance:
    """Importance of each parameter.

    Args:
        shares: Share (0 to 1) of the variance that single parameters explain, greatest first.
        trials: How many completed trials the forest was fitted to.
    """

    shares: dict[str, float]
    trials: int


def importance(data: ReportData) -> Importance | None:
    """Compute parameter importance with fANOVA.

    Returns:
        None with fewer than `LEAST_TRIALS` completed trials, or if their scores or parameters do not differ.

    Source:
        Hutter, Hoos and Leyton-Brown, An efficient approach for assessing hyperparameter importance, 2014;
        `optuna.importance.FanovaImportanceEvaluator`.
    """
    import optuna

    ranked = data.ranked
    names = data.varied_among_ranked
    if len(ranked) < LEAST_TRIALS or not names or len({record.score for record in ranked}) == 1:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0)
    study = numeric_study(ranked, names, data.space, data.metric.maximize)
    return Importance(optuna.importance.get_param_importances(study, evaluator=evaluator), len(ranked))
