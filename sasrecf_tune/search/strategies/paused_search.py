"""The default search: trains whatever is expected to raise the best prediction most per second."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.search.policy import Curve, Finish, Labels, PredictingPolicy, Step, count_begun
from sasrecf_tune.search.strategies.beliefs import Observed
from sasrecf_tune.search.strategies.blas_threads import on_one_thread
from sasrecf_tune.search.strategies.candidate_pool import CandidatePool, Configuration
from sasrecf_tune.search.strategies.curve_constants import FITTED, CurveConstants
from sasrecf_tune.search.strategies.curve_kernel import Spots
from sasrecf_tune.search.strategies.curve_scores import best_so_far, observed
from sasrecf_tune.search.strategies.horizon import Horizon
from sasrecf_tune.search.strategies.knowledge_gradient import knowledge_gradient
from sasrecf_tune.search.strategies.search_end import Predictions, SearchEnd, predictions, search_end
from sasrecf_tune.search.strategies.survey import Survey
from sasrecf_tune.search.strategies.training_cost import ExpectedEpochs, SecondsPerEpoch, seconds_per_epoch
from sasrecf_tune.trials import Prediction

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# What beginning or resuming a trial costs, in epochs.
_SWITCH = 0.1
# After this share of the way to an epoch it is decided anew whether to go on.
_STEP_SHARE = 0.5
# So many configurations have a score before the search may end.
_MIN_TRIED = 6
# When a limit is near, no better trial is trained to its end if one that was is worse by less than so many
# standard deviations between seeds.
_ALIKE = 0.5
_IN_TRAINING = "the chosen trial is being trained to its end"
EXHAUSTED = "every configuration has been trained"


@dataclass(frozen=True)
class _Actions:
    """What a worker could do: [a] each, of the configurations `row` of the beliefs."""

    row: Integers
    first: Integers  # the epoch after which it goes on
    until: Integers
    run: Integers
    switches: NDArray[np.bool_]


class PausedSearch(PredictingPolicy):
    """Pauses and resumes trials by what one Gaussian process over all curves predicts of final scores.

    The next step is the one with the largest knowledge gradient per second: a trial that begins or goes on,
    halfway to a rung. The search ends when the expected regret of a trial that was trained to its end is
    small: by how much a better one is expected to be predicted once all configurations were trained.

    Args:
        pool: Candidates for new trials.
        start: Labels of the first configuration.
        maximize: Whether larger scores are better.
        until: The expected regret that ends the search, in standard deviations between seeds; None for never.
        trials: How many trials the study may have; None for any number.

    Source:
        Frazier, Powell and Dayanik, "The knowledge-gradient policy for correlated normal beliefs", 2009.
        Swersky, Snoek and Adams, "Freeze-thaw Bayesian optimization", 2014.
    """

    def __init__(
        self,
        pool: CandidatePool,
        start: Labels,
        horizon: Horizon,
        maximize: bool,
        until: float | None,
        trials: int | None = None,
        constants: CurveConstants = FITTED,
    ) -> None:
        self._pool = pool
        self._start = start
        self._horizon = horizon
        self._sign = 1 if maximize else -1
        self._until = until
        self._limit = trials
        self._constants = constants
        self._surveyed: tuple[tuple[Curve, ...], Survey] | None = None
        self._known: dict[int, tuple[Curve, tuple[Configuration, list[tuple[int, float]]]]] = {}

    @override
    @on_one_thread
    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        if not curves:
            return Step(dict(self._start), self._horizon.steps(self._horizon.last(self._start))[0])
        survey = self.survey(curves)
        if not len(survey.beliefs.cells):
            return Finish(EXHAUSTED, exhausted=True)
        rows, brief = np.ones(len(survey.beliefs.cells), dtype=bool), False
        if self._until is not None:
            step = self._end(survey, self._until)
            if isinstance(step, Step):
                return step
            if step is not None:
                # What is believed of a value that was never tried is not enough to end a search. Its first
                # score is: if that says that it may be the best, the expected regret is above `until` again.
                rows, brief = survey.values_untried(), True
                if not rows.any():
                    return step
        actions = self._actions(survey, rows, brief=brief)
        if not len(actions.row):
            return Finish(EXHAUSTED, exhausted=True)
        return self._best_action(survey, actions)

    @override
    @on_one_thread
    def final_step(self, curves: Sequence[Curve]) -> Step | Finish:
        if not curves:
            return Step(dict(self._start), self._horizon.last(self._start))
        survey = self.survey(curves)
        beliefs = survey.beliefs
        rows = np.flatnonzero(~survey.untried())
        if not len(rows):
            return Finish("no trial can be trained to its end")
        worse = (beliefs.prediction.mean[rows].max() - beliefs.prediction.mean[rows]) / beliefs.seed_deviation
        if (survey.complete()[rows] & (worse < _ALIKE)).any():
            return Finish("the best trial is trained to its end")
        step = self._train_to_end(survey, int(rows[worse.argmin()]))
        return Finish(_IN_TRAINING) if step is None else step

    @on_one_thread
    def predictions(self, curves: Sequence[Curve]) -> Predictions:
        """Predict the final scores of trials, and of the best configurations without a trial."""
        return predictions(self.survey(curves), self._sign) if curves else Predictions({}, ())

    @on_one_thread
    def choose(self, curves: Sequence[Curve]) -> Labels | None:
        """The configuration that the search would choose now, whether or not it was trained to its end."""
        survey = self.survey(curves) if curves else None
        if survey is None or not len(survey.beliefs.cells):
            return None
        regrets, complete = survey.regrets(), survey.complete()
        good = complete & (regrets < (self._until or 0.0) * _share(complete))
        row = np.where(good, regrets, np.inf).argmin() if good.any() else regrets.argmin()
        return survey.labels[int(survey.beliefs.cells[row])]

    @override
    @on_one_thread
    def summarize(self, curves: Sequence[Curve]) -> SearchSummary | None:
        end = self.end(curves)
        if end is None:
            return None
        predicted = {one.number: Prediction(one.predicted, one.deviation) for one in end.trials.values()}
        # Else it was not computed: configurations without a trial are no candidates.
        gain = end.untried_gain if self._limit is None or count_begun(curves) < self._limit else None
        completed = sum(one.complete for one in end.trials.values())
        share = _share(self.survey(curves).complete())
        return SearchSummary(predicted, completed, end.regret, end.seed_deviation, end.untried, gain, share)

    @on_one_thread
    def end(self, curves: Sequence[Curve]) -> SearchEnd | None:
        """What the search has found so far; None without a score."""
        return search_end(self.survey(curves), self._sign) if curves else None

    def survey(self, curves: Sequence[Curve]) -> Survey:
        """What is known and believed of the study."""
        if self._surveyed is not None:
            before = self._surveyed[0]
            if len(before) == len(curves) and all(map(operator.is_, before, curves)):
                return self._surveyed[1]
        may_begin = self._limit is None or count_begun(curves) < self._limit
        known = [self._know(curve) for curve in curves]
        survey = Survey(curves, known, self._pool, self._horizon, self._constants, may_begin)
        self._surveyed = tuple(curves), survey
        return survey

    def _know(self, curve: Curve) -> tuple[Configuration, list[tuple[int, float]]]:
        """The configuration of a trial and the scores to learn from, calculated once."""
        before, known = self._known.get(curve.number, (None, None))
        if known is None or before is not curve:
            same = known is not None and before is not None and before.labels == curve.labels
            configuration = known[0] if known is not None and same else self._pool.configuration(curve.labels)
            best = best_so_far(curve.scores, self._sign)
            seen = observed(best, self._horizon.steps(self._horizon.last(curve.labels)))
            known = configuration, seen
            self._known[curve.number] = curve, known
        return known

    def _end(self, survey: Survey, until: float) -> Step | Finish | None:
        """The steps that end the search, None if it goes on."""
        scored = {one.cell for one in survey.trials if one.scores}
        if len(scored) < min(_MIN_TRIED, len(survey.beliefs.cells)):
            return None
        regrets, complete = survey.regrets(), survey.complete()
        if complete.any() and (regret := float(regrets[complete].min())) < until * _share(complete):
            return Finish(f"expected regret {regret:.2f} of a standard deviation between seeds")
        row = int(regrets.argmin())
        complete[row] = True
        if regrets[row] >= until * _share(complete):
            return None
        return self._train_to_end(survey, row)

    def _train_to_end(self, survey: Survey, row: int) -> Step | Finish | None:
        """The step that trains a configuration to its end; None while it is trained to an earlier epoch."""
        cell = int(survey.beliefs.cells[row])
        busy = [one for one in survey.trials if one.cell == cell and one.busy]
        last = int(survey.lasts[cell])
        if busy:
            waits = any(one.curve.until >= last for one in busy)
            return Finish(_IN_TRAINING) if waits else None
        labels, going = dict(survey.labels[cell]), survey.open.get(cell)
        if going is None:
            return Step(labels, last)
        first = np.array([_goes_on_after(going)])
        epochs = float(self._expected_epochs(survey).between(first, np.array([last]))[0])
        return Step(labels, last, going.curve.number, epochs * seconds_per_epoch(survey.trials, going))

    def _actions(self, survey: Survey, allowed: NDArray[np.bool_], *, brief: bool) -> _Actions:
        """The steps of the cells in `allowed`; with `brief` only each cell's shortest."""
        busy = {one.cell for one in survey.trials if one.busy}
        rows = []
        for row, cell in enumerate(map(int, survey.beliefs.cells)):
            going = survey.open.get(cell)
            if not allowed[row] or cell in busy or (going is None and cell < survey.tried):
                continue
            newest, first, run = 0, 0, -1
            if going is not None:
                newest, first, run = going.newest, _goes_on_after(going), going.curve.number
            switches = going is None or not going.reached
            ahead = [step for step in self._horizon.steps(int(survey.lasts[cell])) if step > newest]
            untils = ahead[:1] if brief else _some(ahead)
            rows += [(row, first, until, run, switches) for until in untils]
        table = np.array(rows, dtype=int).reshape(len(rows), 5).T
        return _Actions(table[0], table[1], table[2], table[3], table[4].astype(bool))

    def _best_action(self, survey: Survey, actions: _Actions) -> Step:
        beliefs = survey.beliefs
        cells = beliefs.cells[actions.row]
        spots = Spots(cells, beliefs.at(actions.until), actions.run)
        predicted = beliefs.process.predict_runs(spots)
        slopes = beliefs.process.learned(beliefs.finals, beliefs.prediction, spots, predicted)
        gains = knowledge_gradient(beliefs.prediction.mean, slopes)
        best = int((gains / self._cost(survey, actions)).argmax())
        run, until = int(actions.run[best]), int(actions.until[best])
        asked_at = actions.first[best] + _STEP_SHARE * (until - actions.first[best])
        ahead = actions.until[actions.row == actions.row[best]]
        until = int(ahead[ahead >= asked_at].min())
        return Step(dict(survey.labels[int(cells[best])]), until, None if run < 0 else run)

    def _cost(self, survey: Survey, actions: _Actions) -> Floats:
        """[a] What each costs, in epochs of a usual configuration."""
        trials = [one for one in survey.trials if one.newest]
        of = np.array([one.cell for one in trials], dtype=int)
        newest = np.array([one.newest for one in trials], dtype=int)
        seconds = SecondsPerEpoch(
            survey.points[of], np.array([one.curve.seconds for one in trials]), newest
        ).predict(survey.points[survey.beliefs.cells])
        epochs = self._expected_epochs(survey).between(actions.first, actions.until)
        found: Floats = seconds[actions.row] * (epochs + _SWITCH * actions.switches)
        return found

    def _expected_epochs(self, survey: Survey) -> ExpectedEpochs:
        ended = [
            one.newest
            for one in survey.trials
            if one.complete and one.newest <= survey.lasts[one.cell] - self._horizon.eval_step
        ]
        steps = self._horizon.steps(self._horizon.epochs)
        patience = self._horizon.patience
        patience = self._horizon.epochs if patience is None else patience
        return ExpectedEpochs(steps, patience, ended, [one.newest for one in survey.trials])


def _goes_on_after(trial: Observed) -> int:
    """The epoch after which a trial that is open would go on."""
    return trial.newest if trial.reached else min(trial.curve.checkpoint, trial.newest)


def _share(complete: NDArray[np.bool_]) -> float:
    """The share of `until` that ends a search if the configurations in `complete` were trained to their end.

    With few of them little is known of how curves go on, and less of many configurations than of some.
    """
    return min(1.0, int(complete.sum()) / max(1.0, math.log2(len(complete))))


def _some(ahead: Sequence[int]) -> list[int]:
    """The next two rungs, every other one after these, and the last."""
    return [step for index, step in enumerate(ahead) if index < 2 or index % 2 or index == len(ahead) - 1]
