"""What the curves of a study say about the final scores of all its configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sasrecf_tune.search.policy import Curve, CurveState
from sasrecf_tune.search.strategies.curve_constants import CurveConstants
from sasrecf_tune.search.strategies.curve_embedding import Embedding
from sasrecf_tune.search.strategies.curve_kernel import CurveKernel, Spots
from sasrecf_tune.search.strategies.curve_process import CurveProcess, Prediction
from sasrecf_tune.search.strategies.curve_scores import thinned, without_tail
from sasrecf_tune.search.strategies.likely_constants import likely_constants

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The process sees at most so many scores, since its time grows with their cube; constants are adapted to
# fewer.
_MAX_SEEN = 256
_MAX_ADAPTED = 120
# With fewer scores the constants stay as they are.
_MIN_ADAPTED = 8
# Of more configurations than this, those with the highest predictions are looked at.
_MAX_FINALS = 128
_MAX_SCREENED = 256
# A configuration is looked at for its prediction plus so many deviations.
_OPTIMISM = 1.5
_DRAWS = 512


@dataclass(frozen=True, slots=True)  # there is one of each trial, made anew for each decision
class Observed:
    """A trial as the process sees it.

    Args:
        cell: Index of its configuration.
        newest: The last epoch that has a score; 0 without one.
        scores: Epochs and best-so-far scores, larger is better.
        complete: Whether it was trained to its end, by the number of epochs or by early stopping.
    """

    curve: Curve
    cell: int
    newest: int
    scores: Sequence[tuple[int, float]]
    complete: bool

    @property
    def reached(self) -> bool:
        """Whether it runs and the policy decides now how it goes on."""
        return self.curve.state is CurveState.RUNNING and self.newest >= self.curve.until

    @property
    def busy(self) -> bool:
        """Whether it is being trained, whatever is decided now."""
        return self.curve.state is CurveState.RUNNING and not self.reached


class Beliefs:
    """The process over the curves, and its predictions of final scores, in its own units.

    Args:
        points: [cells, d] Configurations.
        lasts: [cells] The last epoch of each.
        allowed: [cells] Whether it may be chosen: not if its training failed.
        trials: All trials.
        steps: Epochs at which trials may pause.

    Attributes:
        cells: [j] The configurations that are looked at.
        finals: Their final scores.
        prediction: What is predicted of these.
        deviation: [j] The standard deviations of `prediction`.
        equal: Whether all scores are the same, so that nothing is to be found.
        seed_deviation: Standard deviation between final scores of runs that differ in their seed.
    """

    def __init__(
        self,
        constants: CurveConstants,
        embedding: Embedding,
        points: Floats,
        lasts: Integers,
        allowed: NDArray[np.bool_],
        trials: Sequence[Observed],
        steps: Sequence[int],
    ) -> None:
        self._trials = trials
        busy = [one for one in trials if one.busy]
        observed = {epoch for one in trials for epoch, _ in one.scores}
        epochs = np.array(sorted({*steps, *map(int, lasts), *observed, *(one.curve.until for one in busy)}))
        self._index = np.full(int(epochs.max()) + 1, -1)
        self._index[epochs] = np.arange(len(epochs))
        times = np.log1p(epochs) / np.log1p(int(lasts.max(initial=1)))
        order = sorted(trials, key=lambda one: (not one.reached, -(one.scores[-1][1] if one.scores else 0.0)))
        self.seen, scores = self._spots(order, _MAX_SEEN)
        self.scores = without_tail(scores)
        if len(scores) >= _MIN_ADAPTED:
            some, few = self._spots(order, _MAX_ADAPTED)
            constants = likely_constants(
                constants,
                np.maximum(few, self.scores.min()),
                lambda varied: CurveKernel(varied, embedding, points, times).parts(some),
            )
        self.constants = constants
        self.equal = len(scores) >= _MIN_ADAPTED and float(np.ptp(scores)) <= 1e-12 * float(abs(scores).max())
        self.seed_deviation = constants.seed_variance**0.5
        kernel = CurveKernel(constants, embedding, points, times)
        pending = Spots(
            np.array([one.cell for one in busy], dtype=int),
            self.at([min(one.curve.until, int(lasts[one.cell])) for one in busy]),
            np.array([one.curve.number for one in busy], dtype=int),
        )
        self.process = CurveProcess(kernel, self.seen + pending, self.scores)
        self.all_finals = Spots(np.arange(len(points)), self.at(lasts), np.full(len(points), -1))
        self.cells = self._promising(
            self.all_finals, np.flatnonzero(allowed & self._ahead(trials, len(points)))
        )
        self.finals = self.all_finals[self.cells]
        self.prediction: Prediction = self.process.predict(self.finals)
        self.deviation = self.process.deviation(self.finals, self.prediction)

    def at(self, epochs: Sequence[int] | Integers) -> Integers:
        """The indices of epochs on the time axis."""
        found: Integers = self._index[np.asarray(epochs, dtype=int)]
        return found

    def best_expected(self, which: NDArray[np.bool_] | None = None) -> float:
        """E[max] of the predictions, once each configuration was trained to its end.

        What one run of each leaves uncertain does not count: more training would not settle it. The mean is
        over fixed draws, each with its mirror image, so that equal beliefs have equal results.

        Args:
            which: [j] Of these configurations; of all by default.
        """
        means, moves = self.prediction.mean, self._moves
        if which is not None:
            means, moves = means[which], moves[which]
        if self.equal or not moves.size:
            return float(means.max())
        draws = moves @ np.random.default_rng(0).standard_normal((moves.shape[1], _DRAWS // 2))
        means = means[:, None]
        return float(((means + draws).max(axis=0).mean() + (means - draws).max(axis=0).mean()) / 2)

    @cached_property
    def _moves(self) -> Floats:
        """[j, k] How the predictions move when k trials, those that are not complete, come to their end."""
        complete = {one.cell for one in self._trials if one.complete}
        begun = {one.cell: one.curve.number for one in self._trials}
        cells = [cell for cell in self.cells.tolist() if cell not in complete]
        runs = [begun.get(cell, -1 - index) for index, cell in enumerate(cells)]
        ends = Spots(np.array(cells, dtype=int), self.all_finals.time[cells], np.array(runs, dtype=int))
        return self.process.learned_together(self.finals, self.prediction, ends)

    def _spots(self, order: Sequence[Observed], limit: int) -> tuple[Spots, Floats]:
        kept = thinned([one.scores for one in order], limit)
        rows = [
            (one.cell, one.scores[index][0], one.curve.number, one.scores[index][1])
            for one, indices in zip(order, kept, strict=True)
            for index in indices
        ]
        table = np.array(rows, dtype=float).reshape(len(rows), 4)
        cell, epoch, run = table[:, :3].astype(int).T
        return Spots(cell, self.at(epoch), run), table[:, 3]

    def _ahead(self, trials: Sequence[Observed], cells: int) -> NDArray[np.bool_]:
        """[cells] False for the worst of many trials, of those that got equally far."""
        found = np.ones(cells, dtype=bool)
        scored = [one for one in trials if one.scores]
        if len(scored) > _MAX_SCREENED:
            score = np.array([one.scores[-1][1] for one in scored])
            axis = np.log1p([one.scores[-1][0] for one in scored])
            line = np.stack([np.ones_like(axis), axis], axis=1)
            rest = score - line @ np.linalg.lstsq(line, score, rcond=None)[0]
            worst = np.argsort(-rest, kind="stable")[_MAX_SCREENED:]
            found[[scored[index].cell for index in worst]] = False
            found[[one.cell for one in scored if one.reached]] = True
        return found

    def _promising(self, finals: Spots, cells: Integers) -> Integers:
        if len(cells) > _MAX_SCREENED:
            mean = self.process.mean(finals[cells])
            cells = cells[np.sort(np.argsort(-mean, kind="stable")[:_MAX_SCREENED])]
        if len(cells) > _MAX_FINALS:
            predicted = self.process.predict(finals[cells])
            hope = predicted.mean + _OPTIMISM * self.process.deviation(finals[cells], predicted)
            cells = cells[np.sort(np.argsort(-hope, kind="stable")[:_MAX_FINALS])]
        return cells
