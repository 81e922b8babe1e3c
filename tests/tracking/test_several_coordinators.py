"""Several coordinators that log the trials of one study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sasrecf_tune.tracking import tracking
from sasrecf_tune.tracking.trial_logs import study_log_id
from tests.support.peer import Peer


@pytest.mark.parametrize("server", ["postgresql", "mariadb"], indirect=True)
def test_coordinators_that_start_together_log_to_the_same_runs(join: Callable[..., Peer]) -> None:
    peers = [join(), join()]
    assert len({study_log_id(peer.study) for peer in [*peers, join()]}) == 1


@pytest.mark.parametrize("server", ["postgresql"], indirect=True)
@pytest.mark.parametrize("resumed", [False, True])
def test_one_of_the_coordinators_at_work_makes_the_run_of_the_study(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    created: list[bool] = []

    def factory(name: str, study: Any, study_dir: Any, creates: bool) -> Callable[[], Any]:
        created.append(creates)
        return lambda: None

    def log(peer: Peer) -> None:
        plan = replace(peer.plan, settings=replace(peer.plan.settings, log=["mlflow"]))
        with tracking.Tracking(plan, peer.study, peer.study_dir, peer.said.append):
            pass

    monkeypatch.setattr(tracking, "tracker_factory", factory)
    first, second = join(), join()
    if resumed:  # the study has its id already
        study_log_id(first.study)
    first.look()
    second.look()
    log(second)
    log(first)
    assert created == [True, False]
    second.peers.leave()
    log(first)
    log(join())
    assert created == [True, False, True, False]
