"""What a run shows of its trials, on a terminal, in a log, and for a program."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.progress import JsonView, LiveView, PlainView, emit, make_progress
from sasrecf_tune.trials import State, TrialRecord

REPORT = Report(3, 1, 0.05, {"mrr@10": 0.05}, train_loss=1.0, seconds=2.0)
REASON = "trial-0003.resume is damaged (checksum of [data]/0)"


def plain(reports: list[Report], console: Console) -> None:
    view = PlainView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, []), console)
    view.on_trial_start(3, {})
    for report in reports:
        view.on_report(report)


def live(reports: list[Report], console: Console) -> None:
    with LiveView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, []), console) as view:
        view.on_trial_start(3, {})
        for report in reports:
            view.on_report(report)


@pytest.mark.parametrize("show", [plain, live])
def test_restarted_trial_is_reported_once(
    show: Callable[[list[Report], Console], None],
) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=show is live, no_color=True, width=200)
    show([replace(REPORT, anew=REASON), replace(REPORT, epoch=2)], console)
    assert text.getvalue().count(f"trial 3 could not continue and restarted: {REASON}\n") == 1


def test_json_has_no_nan_at_any_depth(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, []))
    view.on_trial_start(3, {"clip_grad_norm": {"max_norm": math.inf}})
    view.on_report(replace(REPORT, score=math.nan, metrics={"mrr@10": math.nan, "hit@10": 0.5}))
    emit({"event": "end", "list": [math.nan, (math.inf, 1.0)]})
    lines = capsys.readouterr().out.splitlines()
    started, reported, end = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert started["params"] == {"clip_grad_norm": {"max_norm": None}}
    assert reported["valid"] == {"mrr@10": None, "hit@10": 0.5} and reported["score"] is None
    assert end["list"] == [None, [None, 1.0]]


def test_views_show_the_decimals_that_recbole_rounds_to() -> None:
    text = io.StringIO()
    metric = replace(parse_metric("MRR@10"), decimals=6)
    view = PlainView(make_progress([], metric, True, 9, 5, 1, []), Console(file=text, width=200))
    view.on_trial_start(3, {})
    view.on_report(replace(REPORT, score=0.051234))
    view.on_trial_end(TrialRecord(3, State.COMPLETE, {}, score=0.051234))
    assert text.getvalue().count("0.051234") == 3


def test_restarted_trial_is_a_json_event(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, []))
    view.on_trial_start(3, {})
    view.on_report(replace(REPORT, anew=REASON))
    view.on_report(replace(REPORT, epoch=2))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["started", "restarted", "reported", "reported"]
    assert events[1] == {"event": "restarted", "trial": 3, "reason": REASON}
