"""What Optuna alone, and so optuna-dashboard, can show of a study.db."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from tests.support.bench import bench
from tests.support.fake_training import FakeTraining


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_itself_shows_curves_pruning_and_importances(tmp_path: Path) -> None:
    text = "learning_rate choice [0.1, 0.03, 0.01, 0.003]\nn_layers choice [1, 2, 3]\nepochs choice [5]\n"
    training = FakeTraining(lambda config: float(str(config["learning_rate"])))
    with bench(tmp_path, text, training, pruner="median") as run:
        run.search.run()
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run.study_dir.database}")
    assert study.study_name == "study" and study.metric_names == ["MRR@10"]
    states = {trial.state.name for trial in study.trials}
    assert states == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        assert sorted(trial.intermediate_values) == list(range(1, trial.user_attrs["epochs"] + 1))
    # The default evaluator needs scikit-learn; this one is Optuna's own and what the dashboard takes.
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert next(iter(importances)) == "learning_rate" and importances["learning_rate"] > 0
