"""A coordinator in this process, one of several on a study in a server's database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, Sampler, SearchSettings
from sasrecf_tune.messages import Decision, Report, Result
from sasrecf_tune.search.earlier.matching import Counted
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.study_setup import planned_study
from sasrecf_tune.storage.database.coordination import DatabaseCoordination
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.shared_storage import SharedStorage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.trials import TrialRecord
from tests.support.fake_training import summary

SPACE = "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]\nn_layers choice [1, 2, 3, 4]\n"
CELLS = 24


class Peer:
    """A coordinator of the study at `url`, with a directory of its own."""

    def __init__(
        self,
        directory: Path,
        url: str,
        sampler: Sampler = "grid",
        seed: int = 1,
        imports: Sequence[Counted] = (),
    ) -> None:
        self.now = 0.0
        space = parse(SPACE)
        settings = RunSettings(
            params_file=Path("hyper.test"),
            name="study",
            out=directory,
            dataset="ml-100k",
            base={},
            metric=parse_metric("MRR@10"),
            storage=url,
            search=SearchSettings(sampler, "none"),
            seed=seed,
        )
        self.study_dir = StudyDirectory(directory / "study")
        self.study_dir.directory.mkdir(parents=True, exist_ok=True)
        self.plan = make_plan(settings, space, base_config(settings, space), summary(4))
        self.said: list[str] = []
        self.storage = open_storage(self.study_dir, url)
        self.study = planned_study(self.plan, self.study_dir, self.storage, self.said.append, imports)
        shared, peers = self.study.storage, self.study.peers
        assert isinstance(shared, SharedStorage) and isinstance(peers, DatabaseCoordination)
        self.shared, self.peers = shared, peers
        self.shared.clock = lambda: self.now
        self.peers._heartbeat.next_beat = 0.0

    def ask(self, limit: int | None = None) -> optuna.Trial | None:
        return self.study.ask(distributions(self.plan.space), lambda _: {"seed": 1}, limit)

    def begin(self) -> optuna.Trial:
        trial = self.ask()
        assert trial is not None
        return trial

    def report(self, trial: optuna.Trial, *scores: float) -> None:
        for epoch, score in enumerate(scores, 1):
            self.study.report(trial, Report(trial.number, epoch, score, {"mrr@10": score}, 1.0, 0.1))

    def tell(self, trial: optuna.Trial, score: float = 0.5) -> TrialRecord:
        return self.study.tell(trial, result(trial.number, score))

    def look(self) -> None:
        """Read what the others have done, as after some seconds."""
        self.now += 10
        self.study.flush_if_due()


def result(number: int, score: float = 0.5) -> Result:
    valid = {"mrr@10": score}
    return Result(number, Decision.CONTINUE, 4, 4, valid, {}, {"mrr@10": [score]}, 0.1, "cpu", 1)
