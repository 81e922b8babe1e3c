"""The simulation of claims about effects."""

from __future__ import annotations

from benchmarks.report.effects import searched
from sasrecf_tune.trials import State
from tests.support.simulated_studies import SOME, Claims, count_claims


def test_real_searches_make_no_false_claim() -> None:
    claims: dict[str, Claims] = {}
    records = searched("auto", SOME, 16, seed=0)
    assert len(records) == 16 and any(record.state == State.COMPLETE for record in records)
    for made in (records, searched("none", SOME, 24, seed=0)):
        count_claims(made, SOME, claims)
    assert all(not c.false_difference and not c.false_no_difference for c in claims.values())
    assert any(c.difference + c.no_difference for c in claims.values())
