"""The default search on a table of recorded curves, as a policy to replay."""

from __future__ import annotations

from pathlib import Path

from benchmarks.search.curve_table import METRIC, STOPPING_STEP, Table
from benchmarks.search.instant_training import fake_data_summary
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.search.plan import base_config, make_plan
from sasrecf_tune.search.policy import SearchPolicy
from sasrecf_tune.search.study_setup import make_policy


def freeze_thaw(table: Table, seed: int) -> SearchPolicy:
    """Return the policy of a search of the table's space, with the defaults of `run`."""
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="replay",
        base={"stopping_step": STOPPING_STEP},
        metric=parse_metric(METRIC),
        seed=seed,
        search=SearchSettings(),
    )
    data = fake_data_summary(table.epochs)
    policy = make_policy(make_plan(settings, table.space, base_config(settings, table.space), data))
    assert policy is not None
    return policy
