"""What is printed before and after a search."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.messages import Timing
from sasrecf_tune.report.page.render import lead, render_page
from sasrecf_tune.report.terminal.end_summary import unconfirmed_text
from sasrecf_tune.report.terminal.plan_summary import settings_lines, show_plan, show_timings
from sasrecf_tune.search.plan import Plan, base_config, make_plan
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.fake_training import summary
from tests.support.known_studies import known_report_data, settings


def plan(space_text: str, epochs: int, search: SearchSettings) -> Plan:
    given: RunSettings = replace(settings(Path("tuning")), search=search, base={})
    space = parse(space_text)
    return make_plan(given, space, base_config(given, space), summary(epochs))


def printed(made: Plan) -> str:
    text = io.StringIO()
    console = Console(file=text, width=300)
    show_plan(made, StudyDirectory(Path("tuning/one")), console, done=1)
    show_timings(made, [Timing(1.0, 1.0, 1, 1)], 3.0, console)
    return text.getvalue()


def test_one_of_each_is_written_in_the_singular() -> None:
    search = SearchSettings("grid", "none", patience=1, checkpoint_every=1, confirm=1, confirm_seeds=1)
    text = printed(plan("n_layers choice [1]\n", 1, search))
    assert "estimated from 1 step of 1 configuration: " in text
    assert "1 full trial and 1 confirmation run" in text and "the epochs of 1 full trial without" in text
    assert "1 of 1 trial has ended" in text and "early stopping shortens it" in text
    assert "the only configuration once" in text and "every epoch" in text and "up to 1 epoch each" in text
    for wrong in ("1 steps", "1 configurations", "1 trials,", "1 runs", "1 seeds", "1 epochs", "1 threads"):
        assert wrong not in text


def test_the_plan_says_when_the_metrics_of_users_are_written() -> None:
    text = printed(plan("n_layers choice [1]\n", 1, SearchSettings(per_user=True, confirm=1)))
    assert "users      the metrics of each user are written to per-user/ after each confirmation run" in text
    text = printed(plan("n_layers choice [1]\n", 1, SearchSettings(per_user=True)))
    assert "not by the trials of the search: add --confirm, or later run sasrecf-tune confirm one" in text
    assert "per-user" not in printed(plan("n_layers choice [1]\n", 1, SearchSettings()))


def test_pruning_shortens_a_search_that_prunes() -> None:
    text = printed(plan("n_layers choice [1, 2, 3]\n", 50, SearchSettings("grid", "median")))
    assert "1 of 3 trials has ended" in text and "early stopping and pruning shorten it" in text


def test_what_becomes_of_the_confirmation_is_said_while_other_runs_search() -> None:
    search = SearchSettings(confirm=3, confirm_seeds=4)
    text = unconfirmed_text(search, StudyDirectory(Path("/data/one")), [("a-1", ""), ("b-2", "")])
    assert "other runs still search (a-1, b-2)" in text and "\n" not in text
    assert text.endswith("sasrecf-tune confirm one --out /data --top 3 --seeds 4")


def test_the_best_of_a_finished_study_is_not_the_best_so_far() -> None:
    going_on = known_report_data(20)
    going_on = replace(going_on, manifest=going_on.manifest | {"planned_trials": 30})
    assert lead(going_on).startswith("Best so far: trial") and "The best so far: trial" in render_page(
        going_on
    )
    finished = known_report_data(20)
    assert lead(finished).startswith("Best: trial") and "The best: trial" in render_page(finished)


def test_the_page_shows_the_command_that_began_the_study_and_those_that_continued_it() -> None:
    data = known_report_data(3)
    first, second = ["sasrecf-tune", "run", "--set", "a b=[1, 2]"], ["sasrecf-tune", "resume"]
    page = render_page(replace(data, manifest=data.manifest | {"command": first, "later_commands": [second]}))
    section = page.partition('<section id="provenance">')[2]
    assert (
        section.index("--set &#39;a b=[1, 2]&#39;") < section.index("continued by") < section.index("resume")
    )


def test_settings_are_listed_by_where_they_were_given() -> None:
    config = {"epochs": 5, "learner": "sgd", "n_layers": 1}
    sources = {"epochs": "my a.yaml", "learner": "--set", "n_layers": "my a.yaml"}
    assert settings_lines(config, sources) == ["my a.yaml: epochs=5 n_layers=1", "--set: learner=sgd"]
    assert settings_lines(config, {}) == ["epochs=5 learner=sgd n_layers=1"]
    assert settings_lines({}, {}) == []
