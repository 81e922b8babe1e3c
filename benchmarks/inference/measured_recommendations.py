"""What runs in the processes of recommend.py: recommendations for all users of a data set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.measured_engines import MeasuredEngine, pick_device
from benchmarks.engine.processes import ProcessSetting
from sasrecf_tune.inference.recommender import Recommender
from sasrecf_tune.messages import Decision, Deployment, Result
from sasrecf_tune.training.model_export import write_model

_FACTS: dict[str, Any] = {
    "engine": "fast",
    "best_epochs": [],
    "dataset": "",
    "fingerprint": "",
    "origin": {"study": "", "metric": "", "trial": 0, "score": 0.0, "how": ""},
}


def make(setting: ProcessSetting) -> MeasuredRecommendations:
    """Return what `setting` names."""
    return MeasuredRecommendations(setting, pick_device(setting.device))


class MeasuredRecommendations(MeasuredEngine):
    """RecBole's `full_sort_topk` (engine `recbole`) or `Recommender` (`fast`), with untrained weights."""

    def load(self) -> int:
        """Prepare the data and the model; return the number of users."""
        self.prepare()
        self.build()
        if self._engine.name == "fast":
            self._recommender = self._write_and_read()
        return len(self._built.test.dataset)

    def recommend(self, top: int, batch: int) -> float:
        """Recommend for all users, `batch` at a time with RecBole; return the seconds."""
        began = time.perf_counter()
        if self._engine.name == "fast":
            histories = self._recommender.histories
            assert histories is not None
            for part in self._recommender.recommend(histories, top):
                part.columns()
        else:
            self._full_sort_topk(top, batch)
        return time.perf_counter() - began

    def _full_sort_topk(self, top: int, batch: int) -> None:
        from recbole.utils.case_study import full_sort_topk

        test = self._built.test
        users = test.dataset.inter_feat[test.dataset.uid_field].numpy()
        model, ids = self._built.trainer.model, test.dataset.field2id_token[test.dataset.iid_field]
        for low in range(0, len(users), batch):
            rows = users[low : low + batch]
            _, items = full_sort_topk(rows, model, test, top, device=torch.device(self._device))
            ids[items.cpu()]

    def _write_and_read(self) -> Recommender:
        path = Path("model")
        path.mkdir()
        model, dataset = self._built.trainer.model, self._prepared.dataset
        config = self._bridge.make_config(self._config, self._gpu)
        nothing = Result(0, Decision.CONTINUE, 0, 0, {}, {}, {}, 0.0, self._device, 0)
        weights = {name: value.cpu() for name, value in model.state_dict().items()}
        write_model(Deployment("train", path, _FACTS), self._config, config, dataset, [weights], nothing)
        return Recommender(path, self._device)
