"""A search, its results and a confirmation from Python; takes minutes on two CPU cores.

    python examples/python_api.py

The same script again continues the study.
"""

from __future__ import annotations

from typing import Any

import sasrecf_tune as st


class PrintBest:
    """A callback that prints each score that is better than all before."""

    def __init__(self) -> None:
        self.best = 0.0

    def on_trial_end(self, trial: st.TrialRecord) -> None:
        """Called when a trial has ended and is on disk."""
        if trial.score is not None and trial.score > self.best:
            self.best = trial.score
            print(f"trial {trial.number}: {trial.score:.4f} with {trial.params}")


def search(trials: int = 8, seeds: int = 5, **config: Any) -> st.Study:
    """Search with the RecBole settings `config`, and confirm the best two configurations."""
    space = st.SearchSpace(
        {
            "learning_rate": st.log(3e-4, 1e-2),
            "hidden_dropout_prob": [0.2, 0.5],
            "n_layers": st.integer(1, 2),
        }
    )
    study = st.tune(
        space,
        study="python-api",
        trials=trials,
        config=config,
        callbacks=[PrintBest()],
        progress=False,
    )

    print(study.trials_dataframe()[["rank", "number", "state", "score", *space.names]])
    print(study.curves())
    print("best:", study.best.params, "with seed", study.best.seed)
    print("report:", study.report_html())

    confirmation = study.confirm(top=2, seeds=seeds, progress=False)
    print(confirmation.to_dataframe()[["rank", "trial", "mean", "half_interval", "p"]])
    print(confirmation.text)
    return study


# Worker processes do not run this file again, so `if __name__ == "__main__":` is not needed for them.
if __name__ == "__main__":
    found = search(epochs=5, hidden_size=64, inner_size=128, MAX_ITEM_LIST_LENGTH=10, train_batch_size=2048)
    print(st.load_study(found.path).save_best("best.yaml"))
