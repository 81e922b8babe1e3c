"""The HTML page of a study, read as a browser reads it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from sasrecf_tune.analysis.confirmation import Confirmation
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.api.html import html_table
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.report.page.figures import score_range, whole_ticks
from sasrecf_tune.report.page.render import lead, render_page
from sasrecf_tune.trials import State, TrialRecord
from tests.support.known_studies import known_report_data
from tests.support.page_reader import read


def test_page_summarises_the_search() -> None:
    found = read(render_page(known_report_data(40)))
    for said in (
        "943 users",
        "24 complete, 14 pruned, 2 failed",
        "planted.test",
        "fANOVA, from 24",
    ):
        assert said in found.text
    headings = re.findall(r"<h2>([^<]*)</h2>", render_page(known_report_data(40)))
    assert len(headings) == len(set(headings)) >= 10


def test_texts_of_a_study_are_escaped_on_the_page() -> None:
    plain = known_report_data(40)
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\n\x00{{ 1 / 0 }}{% for %}"
    records = [
        replace(r, params=r.params | {"hidden_act": bad}, error=r.error and bad) for r in plain.records
    ]
    records[0] = replace(records[0], params=records[0].params | {"hidden_act": "gelu"})
    manifest = plain.manifest | {"command": [bad], "dataset": bad}
    before = read(render_page(plain))
    after = read(render_page(replace(plain, name=bad, records=records, manifest=manifest)))
    assert after.text.count("onerror=alert(1)") > 5
    assert {tag for tag, _ in after.tags} == {tag for tag, _ in before.tags}
    assert not any("onerror" in attributes for _, attributes in after.tags)
    assert len([s for s in after.scripts if not s.startswith("{")]) == 4


def test_the_command_on_the_page_is_quoted_for_a_shell() -> None:
    plain = known_report_data(3)
    command = ["sasrecf-tune", "run", "--out", "my [a] out", "--set", "topk=[5, 10]"]
    page = read(render_page(replace(plain, manifest=plain.manifest | {"command": command})))
    assert "sasrecf-tune run --out 'my [a] out' --set 'topk=[5, 10]'" in page.text


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("/home/me/.venv/bin/sasrecf-tune", "sasrecf-tune run"),
        ("/home/me/clone/sasrecf_tune/__main__.py", "python -m sasrecf_tune run"),
        ("mine/search.py", "mine/search.py run"),
    ],
)
def test_the_command_on_the_page_is_the_one_that_was_typed(program: str, shown: str) -> None:
    plain = known_report_data(3)
    page = render_page(replace(plain, manifest=plain.manifest | {"command": [program, "run"]}))
    assert f"<dd>{shown}</dd>" in page


def test_page_of_the_documented_grid_is_below_2_mb() -> None:
    assert len(render_page(known_report_data(120)).encode()) < 2_000_000


@pytest.mark.parametrize(
    ("values", "step"),
    [([1, 9], 1), ([0, 10], 1), ([0, 11], 2), ([1, 300], 50), ([0, 99_999], 10_000)],
)
def test_whole_ticks_are_at_most_eleven_whole_numbers(values: list[int], step: int) -> None:
    assert whole_ticks(values)["dtick"] == step


def test_a_single_number_has_the_only_tick() -> None:
    assert whole_ticks([0])["tickvals"] == [0] and whole_ticks([])["dtick"] == 1


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.04], [0.036, 0.044]),
        ([0.04, math.nan, None, 0.04], [0.036, 0.044]),
        ([0.0], [0.0, 0.001]),
        ([0.0001], [0.0, 0.0011]),
        ([-2.0], [-2.2, -1.8]),
    ],
)
def test_the_axis_of_one_score_is_near_it(scores: list[float | None], expected: list[float]) -> None:
    assert score_range(scores, parse_metric("MRR@10"))["range"] == pytest.approx(expected)


def test_the_axis_of_several_scores_is_plotlys() -> None:
    assert score_range([0.1, 0.2], parse_metric("MRR@10")) == {}


def test_scores_of_a_single_trial_are_on_narrow_axes() -> None:
    figures = [json.loads(text) for text in read(render_page(known_report_data(1))).scripts if text[0] == "{"]
    ranges = [figure["layout"]["yaxis"].get("range") for figure in figures]
    narrow = [each for each in ranges if each and each[0] > 0 and each[1] - each[0] < 0.1]
    assert len(narrow) >= 2  # the history, and the cost


def test_page_loads_nothing_and_describes_its_figures() -> None:
    found = read(render_page(known_report_data(40)))
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy
    assert not any({"src", "href", "action"} & set(attributes) for _, attributes in found.tags)
    figures = [json.loads(script) for script in found.scripts if script.startswith("{")]
    described = [a["aria-label"] for _, a in found.tags if a.get("role") == "img"]
    assert len(figures) == len(described) > 10
    assert all(label and len(label) > 30 for label in described)
    assert all(figure["data"] and "template" not in figure["layout"] for figure in figures)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 14])
def test_page_renders_for_any_number_of_trials(count: int) -> None:
    read(render_page(known_report_data(count)))


def test_page_with_a_minimised_metric_and_one_parameter() -> None:
    space = parse("n_layers choice [1, 2]\n", "one.test")
    records = [
        TrialRecord(i, State.COMPLETE, {"n_layers": i % 2 + 1}, score=0.5 + i / 100, epochs=1, best_epoch=1)
        for i in range(12)
    ]
    small = replace(known_report_data(1), metric=parse_metric("GiniIndex@10"), space=space, records=records)
    assert lead(small) == "Best: trial 0 with GiniIndex@10 0.5000, 0.0100 ahead of the next, trial 1."
    level = replace(small, records=[replace(record, score=0.5) for record in records[:3]])
    assert lead(level).endswith("level with trials 1, 2.")
    for one in (small, level):
        read(render_page(one))


def test_a_text_does_not_turn_what_the_page_says_after_it() -> None:
    one = known_report_data(12)
    turned = replace(
        one, manifest={**one.manifest, "dataset": "data\u202e\x1b", "machine": {"cpu": "\u2066"}}
    )
    assert not set(render_page(turned)) & set("\u202e\u2066\x1b")
    assert "data\\u202e\\x1b" in render_page(turned)
    assert html_table(["\u202e<b>"], []).count("\\u202e&lt;b&gt;") == 1


def test_page_shows_the_confirmed_winner() -> None:
    planted_study = known_report_data(12)
    record = planted_study.ranked[2]
    run = replace(record, number=0, seed=7)
    confirmation = Confirmation({record.number: record.params}, (7,), 1, {(record.number, 7): run})
    winner = Winner(run, record.number, confirmation)
    text = read(render_page(replace(planted_study, confirmation=confirmation, winner=winner))).text
    assert f"The confirmed best: trial {record.number}" in text
    assert f"Confirmed: trial {record.number} with" in text
    assert "The best: trial" not in text
