"""Several coordinators that log the trials of one study."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sasrecf_tune.tracking.trial_logs import study_log_id
from tests.support.peer import Peer


@pytest.mark.parametrize("server", ["postgresql", "mariadb"], indirect=True)
def test_coordinators_that_start_together_log_to_the_same_runs(join: Callable[..., Peer]) -> None:
    peers = [join(), join()]
    found = [study_log_id(peer.study) for peer in peers]
    assert len({name for name, _ in found}) == 1
    assert [made_here for _, made_here in found] == [True, False]
    assert study_log_id(join().study) == (found[0][0], False)
