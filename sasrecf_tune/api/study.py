"""A study on disk, for notebooks and scripts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sasrecf_tune.analysis.confirmation import rank_confirmed
from sasrecf_tune.analysis.report_data import ReportData, Results, report_data_of
from sasrecf_tune.analysis.user_scores import user_tables
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.api import session
from sasrecf_tune.api.arguments import check_arguments
from sasrecf_tune.api.callbacks import CallbackError, UserCallbacks
from sasrecf_tune.api.confirmation import ConfirmationResult
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.api.html import study_html
from sasrecf_tune.api.model import Model
from sasrecf_tune.errors import TuneError, no_completed_trial
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, Tracker, Where
from sasrecf_tune.messages import TrainOn
from sasrecf_tune.report.formats.best_yaml import best_yaml, winner_config
from sasrecf_tune.report.terminal.console import write_output
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory, find_study, relative, study_directory
from sasrecf_tune.storage.manifest import settings_from
from sasrecf_tune.storage.recorded_addresses import database_address
from sasrecf_tune.trials import State, TrialRecord

if TYPE_CHECKING:
    import optuna
    import pandas as pd

# tqdm, which Optuna imports, asks for ipywidgets in a notebook; nothing here uses it.
warnings.filterwarnings("ignore", message="IProgress not found")


@dataclass(frozen=True)
class BestTrial:
    """The best configuration of a study: the confirmed one, else the first of the search.

    Args:
        number: The trial of the search that has it.
        score: Its best validation score; of a confirmed one the mean over the fresh seeds.
        params: The searched parameters.
        seed: The seed that it was trained with; of a confirmed one that of its best run on validation.
        confirmed: Whether a confirmation chose it.
        config: The complete RecBole configuration, which trains it again.
    """

    number: int
    score: float
    params: dict[str, Any]
    seed: int
    confirmed: bool
    config: dict[str, Any] = field(repr=False)


class Study:
    """What a study directory holds. `tune` and `load_study` make it.

    It reads the database when a result is first asked for; `reload` reads it anew.
    """

    def __init__(self, directory: StudyDirectory, storage: str | None = None) -> None:
        self._directory = directory
        self._storage = storage
        self._settings, self._space = settings_from(directory)
        self._address()  # refuses an address that is missing or of no use

    @property
    def name(self) -> str:
        """The study's name."""
        return self._directory.name

    @property
    def path(self) -> Path:
        """The study directory."""
        return self._directory.directory

    @property
    def metric(self) -> str:
        """The validation metric that trials are ranked by."""
        return str(self._settings.metric)

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials by number, running and waiting ones too."""
        return self._results.records

    @property
    def best(self) -> BestTrial:
        """The confirmed configuration, else the first of the ranking.

        Raises:
            StudyNotFoundError: No trial has completed.
        """
        winner = self._winner
        config = self.best_config
        score = winner.record.score
        if winner.confirmation is not None:
            verdict = rank_confirmed(winner.confirmation, self._settings.metric.maximize, self._settings.unit)
            score = verdict.places[0].score.mean
        assert score is not None
        params = {name: value for name, value in winner.record.params.items() if name in self._space.names}
        return BestTrial(
            winner.trial, score, params, int(config["seed"]), winner.confirmation is not None, config
        )

    @property
    def best_config(self) -> dict[str, Any]:
        """The RecBole configuration of the best trial, with its seed.

        Raises:
            StudyNotFoundError: No trial has completed.
        """
        return winner_config(self._winner, self._settings, self._space)

    @property
    def confirmation(self) -> ConfirmationResult | None:
        """The last confirmation, None where there is none."""
        confirmation = self._results.confirmation
        if confirmation is None:
            return None
        return ConfirmationResult(confirmation, self._settings.metric, self._settings.unit, self._data.varied)

    def trials_dataframe(self) -> pd.DataFrame:
        """The ended trials in the order of the ranking, with the columns of ranking.csv and the score."""
        import pandas as pd

        metrics = self._data.manifest["data"]["metric_keys"]
        rows = [
            {
                "rank": row.rank,
                "number": row.record.number,
                "state": str(row.record.state),
                "score": row.record.score,
                **{name: row.record.params.get(name) for name in self._space.names},
                "trial_seed": row.record.seed,
                "trained_epochs": row.record.epochs,
                "best_epoch": row.record.best_epoch,
                "seconds": row.record.seconds,
                **{f"valid {key}": row.record.valid.get(key) for key in metrics},
                "error": row.record.error or None,
                "imported": row.record.imported or None,
                "predicted": row.record.predicted.mean if row.record.predicted else None,
                "predicted_sd": row.record.predicted.deviation if row.record.predicted else None,
            }
            for row in self._data.rows
        ]
        types = {"rank": "Int64", "predicted": "float64", "predicted_sd": "float64"}
        return pd.DataFrame(rows).astype(types) if rows else pd.DataFrame()

    def curves(self) -> pd.DataFrame:
        """The learning curves: the validation score by epoch (rows) and trial (columns)."""
        import pandas as pd

        curves = {number: dict(curve) for number, curve in self._results.curves.items() if curve}
        frame = pd.DataFrame(curves, dtype=float).sort_index()
        return frame.rename_axis(index="epoch", columns="trial")

    def confirm(
        self,
        top: int | None = None,
        seeds: int | None = None,
        *,
        workers: int | None = None,
        gpus: str | int | Sequence[int | str] | None = None,
        threads: int | None = None,
        executor: Where | None = None,
        address: str | None = None,
        per_user: bool | None = None,
        progress: bool = True,
    ) -> ConfirmationResult:
        """Train the best configurations again on fresh seeds, and test which can be told apart.

        The same call again continues; more seeds or configurations are added to what is there. Arguments
        are the options of `sasrecf-tune confirm`.

        Raises:
            TuneError: No trial has completed, an argument cannot be used, or the training failed.
            KeyboardInterrupt: It was interrupted; the runs that have ended are kept.
        """
        given = locals()
        check_arguments(Study.confirm, given)
        options = {name: value for name, value in given.items() if name not in ("self", "progress")}
        with keyword_names():
            try:
                storage = session.given_address(self._storage)
                code = session.run_confirmation(self._directory, {**options, "storage": storage}, progress)
            finally:
                self.reload()
        if code == 130:
            if progress:
                print("Stopped. The runs that have ended are kept. The same call continues the confirmation.")
            raise KeyboardInterrupt
        confirmation = self.confirmation
        assert confirmation is not None
        return confirmation

    def resume(
        self,
        *,
        trials: int | None = None,
        timeout: float | str | None = None,
        patience: int | None = None,
        until: float | str | None = None,
        grace: float | str | None = None,
        checkpoint_every: int | None = None,
        keep_paused: int | str | None = None,
        workers: int | None = None,
        gpus: str | int | Sequence[int | str] | None = None,
        threads: int | None = None,
        executor: Where | None = None,
        address: str | None = None,
        log: Tracker | Sequence[Tracker] | None = None,
        retry_failed: bool = False,
        callbacks: Sequence[object] = (),
        progress: bool = True,
    ) -> Study:
        """Continue the search as it was last run, and return the study.

        Arguments are the options of `sasrecf-tune resume`, and `callbacks` and `progress` as in `tune`; what
        is None stays as before. `trials` and `timeout` are totals of the study.

        Raises:
            TuneError: As `tune`.
            KeyboardInterrupt: The search was interrupted; what has ended is kept.
        """
        given = locals()
        check_arguments(Study.resume, given)
        options = {
            name: value
            for name, value in given.items()
            if name not in ("self", "retry_failed", "callbacks", "progress")
        }
        options["storage"] = session.given_address(self._storage)
        try:
            with keyword_names():
                settings, space = session.resumed_settings(self._directory, options)
            return search(settings, space, callbacks, progress, retry_failed=retry_failed)
        finally:
            self.reload()

    def fit(
        self,
        on: TrainOn = "train+valid",
        *,
        seed: int | None = None,
        seeds: int = 1,
        output: str | Path | None = None,
        dataset: str | None = None,
        data_path: str | Path | None = None,
        gpus: str | int | Sequence[int | str] | None = None,
        per_user: bool = False,
        progress: bool = True,
    ) -> Model:
        """Train the best configuration for use, write its model directory, and return the model.

        Arguments are the options of `sasrecf-tune fit`. With `seeds=5` the model averages the scores of five
        models, whose seeds are `seed` and those after it.

        Raises:
            TuneError: No trial has completed, an argument cannot be used, or the training failed.
        """
        given = locals()
        check_arguments(Study.fit, given)
        options = {name: value for name, value in given.items() if name not in ("self", "progress")}
        with keyword_names():
            options["storage"] = session.given_address(self._storage)
            return Model(session.run_fit(self._directory, options, progress))

    def users_dataframe(self) -> pd.DataFrame:
        """The rank of the held-out item and the metrics of each user, as `report --per-user` writes them.

        Empty where no run was trained with `per_user`.

        Raises:
            StorageError: A file cannot be read.
        """
        import pandas as pd

        tables = list(user_tables(self._directory, self._results.records, self._results.confirmation))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def report_html(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file, and return its path. Default: report.html of the study."""
        from sasrecf_tune.report.page.render import render_page

        check_arguments(Study.report_html, {"path": path})
        target = self._directory.report if path is None else Path(path).absolute()
        write_output(render_page(self._data), target, own=path is None)
        return target

    def save_best(self, path: str | Path) -> Path:
        """Write a RecBole config file of the best trial, and return its path.

        Raises:
            StudyNotFoundError: No trial has completed.
        """
        check_arguments(Study.save_best, locals())
        target = Path(path).absolute()
        write_output(best_yaml(self._winner, self._settings, self._space), target)
        return target

    def optuna_study(self) -> optuna.Study:
        """The study as Optuna sees it, for its visualizations. Do not add trials to it."""
        import optuna

        from sasrecf_tune.storage.database.open import open_storage
        from sasrecf_tune.storage.database.study_name import recorded_name

        self._results  # checks the database, which Optuna would create  # noqa: B018
        storage = open_storage(self._directory, self._address())
        return optuna.load_study(study_name=recorded_name(storage, self._directory), storage=storage)

    def delete(self) -> None:
        """Delete the study: its trials in the database, and its files. Nobody is asked.

        Raises:
            StorageError: A run is using it, or it cannot be deleted.
        """
        with keyword_names():
            session.delete_study(self._directory, self._address())

    def reload(self) -> None:
        """Read the results anew when they are next asked for."""
        self._settings, self._space = settings_from(self._directory)
        for name in ("_results", "_data"):
            self.__dict__.pop(name, None)

    def _address(self) -> str | None:
        return database_address(self._settings, session.given_address(self._storage))

    @cached_property
    def _results(self) -> Results:
        return read_results(self._directory, self._settings, self._space, self._address())

    @cached_property
    def _data(self) -> ReportData:
        return report_data_of(self._directory, self._settings, self._space, self._results)

    @property
    def _winner(self) -> Winner:
        if self._results.winner is None:
            raise no_completed_trial(self.name)
        return self._results.winner

    def _summary(self) -> str:
        counts = [f"{self._data.count(state)} {state}" for state in State if self._data.count(state)]
        text = f"{self.name}: {', '.join(counts) or 'no trials'}"
        if self._results.winner is None:
            return text
        best = self.best
        confirmed = ", confirmed" if best.confirmed else ""
        score = self._settings.metric.text(best.score)
        return f"{text}; best {self.metric} {score} (trial {best.number}{confirmed})"

    def __repr__(self) -> str:
        return f"<Study {self._summary()}, in {relative(self.path)}>"

    def _repr_html_(self) -> str:
        confirmation = self.confirmation
        return study_html(self._summary(), self._data, confirmation.text if confirmation else "")


def search(
    settings: RunSettings,
    space: SearchSpace,
    callbacks: Sequence[object],
    progress: bool,
    fresh: bool = False,
    retry_failed: bool = False,
) -> Study:
    """Run a search, and return its study; raises as `tune`."""
    directory = study_directory(settings.out, settings.name)
    with keyword_names():
        try:
            own = [UserCallbacks(callbacks)]
            code = session.run_search(settings, space, own, progress, fresh, retry_failed)
        except CallbackError as failure:
            assert failure.__cause__ is not None
            raise failure.__cause__ from None
        except KeyboardInterrupt:
            code = 130
    if code == 130:
        if progress:
            name = relative(directory.directory)
            print(f"Stopped. What has ended is kept in {name}. The same call continues the search.")
        raise KeyboardInterrupt
    found = Study(directory, settings.storage)
    failed = [record for record in found.trials if record.state == State.FAILED]
    if code and failed:
        last = failed[-1]
        raise TuneError(
            f"trial {last.number} failed: {last.error}",
            where=found.name,
            fix=f"The trials that have ended are kept: sasrecf_tune.load_study({relative(found.path)!r})",
        )
    return found


def load_study(study: str | Path, *, out: str | Path = "tuning", storage: str | None = None) -> Study:
    """Read a study that was searched before, from Python or on the command line.

    Args:
        study: A name below `out`, or the path of the study directory.
        out: The directory of studies.
        storage: The database's address, for a study that is on a server.

    Raises:
        StudyNotFoundError: There is no such study; the message names those there are.
        StorageError: The study cannot be read.

    Example:
        >>> load_study("tuning/ml-100k-quickstart").best.params  # doctest: +SKIP
        {'learning_rate': 0.003, 'hidden_dropout_prob': 0.2}
    """
    check_arguments(load_study, locals())
    with keyword_names():
        directory = find_study(Path(out), str(study))
        return Study(StudyDirectory(directory.directory.resolve()), storage)
