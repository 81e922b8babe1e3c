"""Hyperparameter tuning for SASRecF, RecBole's self-attentive recommender with item features.

Example:
    >>> import sasrecf_tune as st
    >>> space = st.SearchSpace({"learning_rate": [0.01, 0.001], "hidden_dropout_prob": st.uniform(0.1, 0.6)})
    >>> study = st.tune(space, dataset="ml-100k", trials=20, config={"epochs": 5})  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sasrecf_tune.api.comparison import StudyComparison, compare
    from sasrecf_tune.api.confirmation import ConfirmationResult
    from sasrecf_tune.api.import_data import ImportedData, import_data
    from sasrecf_tune.api.model import Model, load_model
    from sasrecf_tune.api.space import (
        SearchSpace,
        integer,
        log,
        loguniform,
        quniform,
        read_params_file,
        uniform,
    )
    from sasrecf_tune.api.study import BestTrial, Study, load_study
    from sasrecf_tune.api.tune import tune
    from sasrecf_tune.errors import InputError, TuneError
    from sasrecf_tune.messages import Report
    from sasrecf_tune.trials import TrialRecord

__version__ = "0.1.0"

__all__ = [
    "BestTrial",
    "ConfirmationResult",
    "ImportedData",
    "InputError",
    "Model",
    "Report",
    "SearchSpace",
    "Study",
    "StudyComparison",
    "TrialRecord",
    "TuneError",
    "__version__",
    "compare",
    "import_data",
    "integer",
    "load_model",
    "load_study",
    "log",
    "loguniform",
    "quniform",
    "read_params_file",
    "tune",
    "uniform",
]

# Imported when first used: the command line and `import sasrecf_tune` load no numpy, optuna or torch.
_MODULES = {
    "api.comparison": ("StudyComparison", "compare"),
    "api.confirmation": ("ConfirmationResult",),
    "api.import_data": ("ImportedData", "import_data"),
    "api.model": ("Model", "load_model"),
    "api.space": ("SearchSpace", "integer", "log", "loguniform", "quniform", "read_params_file", "uniform"),
    "api.study": ("BestTrial", "Study", "load_study"),
    "api.tune": ("tune",),
    "errors": ("InputError", "TuneError"),
    "messages": ("Report",),
    "trials": ("TrialRecord",),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                found = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
