"""What a run shows of its trials, on a terminal, in a log, and for a program."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.progress import JsonView, LiveView, PlainView, make_progress

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


def test_restarted_trial_is_a_json_event(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, []))
    view.on_trial_start(3, {})
    view.on_report(replace(REPORT, anew=REASON))
    view.on_report(replace(REPORT, epoch=2))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["started", "anew", "reported", "reported"]
    assert events[1] == {"event": "anew", "trial": 3, "reason": REASON}
