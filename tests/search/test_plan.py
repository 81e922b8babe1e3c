"""What a plan hands to RecBole, and what belongs to a study."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.report.terminal.plan_summary import plan_facts, show_plan
from sasrecf_tune.search.plan import Plan, base_config, make_plan
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.fake_training import summary

UNUSED = {
    "gpu_id": 3,
    "worker": 4,
    "log_wandb": True,
    "save_dataset": True,
    "local_rank": 0,
    "transform": "mask_itemseq",
    "embedding_size": 50,
    "my_own": {"a": 1},
}


def planned(base: dict[str, Any]) -> Plan:
    space = parse("learning_rate choice [0.01]\n")
    settings = RunSettings(
        params_file=Path("lr.test"), name="study", base=base, metric=parse_metric("MRR@10")
    )
    return make_plan(settings, space, base_config(settings, space), summary())


def test_a_manifests_settings_are_those_of_the_study_however_they_are_written() -> None:
    assert planned({"topk": 5}).identity() == planned({"topk": [5]}).identity()


def test_settings_without_effect_are_noted_but_neither_handed_over_nor_part_of_the_study() -> None:
    plain, noted = (
        planned({"epochs": 3, "data_path": "data"}),
        planned({"epochs": 3, "data_path": "data"} | UNUSED),
    )
    assert noted.config({"learning_rate": 0.01}) == plain.config({"learning_rate": 0.01})
    assert noted.identity() == plain.identity() and noted.identity()["config"] == {"epochs": 3}
    assert not plain.notes and all(any(f"`{key}`" in note for note in noted.notes) for key in UNUSED)
    assert plan_facts(noted)["notes"] == noted.notes
    console = Console(file=io.StringIO(), width=200)
    show_plan(noted, StudyDirectory(Path("tuning/study")), console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "set     epochs=3\n" in "".join(f"{line.rstrip()}\n" for line in shown.splitlines())
    assert "note    `gpu_id` has no effect here; use --gpus" in shown
