"""What a run shows of its trials, on a terminal, in a log, and for a program."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.messages import Report
from sasrecf_tune.report.terminal.live_view import LiveView
from sasrecf_tune.report.terminal.progress import JsonView, PlainView, Progress, emit, make_progress
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


def test_continued_trials_are_lines_of_a_log_but_not_of_the_live_view() -> None:
    for show in (plain, live):
        text = io.StringIO()
        show([replace(REPORT, continues_after=1)], Console(file=text, force_terminal=show is live, width=200))
        assert ("trial 3 continues after epoch 1\n" in text.getvalue()) is (show is plain)


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


PAUSED = TrialRecord(3, State.PAUSED, {}, score=0.05, epochs=1, best_epoch=1, seconds=2.0)


def test_a_paused_trial_is_shown_until_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    text = io.StringIO()
    state = make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, [PAUSED])
    assert state.paused == {3: PAUSED} and state.left == 9
    view = PlainView(state, Console(file=text, width=200))
    view.on_trial_start(3, {})
    assert not state.paused and state.curves == {3: []}
    view.on_report(replace(REPORT, continues_after=1))
    view.on_report(replace(REPORT, epoch=2))
    view.on_trial_paused(replace(PAUSED, epochs=2))
    assert list(state.paused) == [3] and not state.running and not state.records
    assert state.curves[3] == [(1, 0.05), (2, 0.05)]
    assert "trial 3 continues after epoch 1\n" in text.getvalue()
    assert text.getvalue().endswith("trial 3 paused after epoch 2: best 0.0500\n")
    JsonView(make_progress([], parse_metric("MRR@10"), True, 9, 5, 1, [])).on_trial_paused(PAUSED)
    assert json.loads(capsys.readouterr().out) == {
        "event": "paused",
        "trial": 3,
        "score": 0.05,
        "epochs": 1,
        "seconds": 2.0,
    }


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


PARAMS = {"learning_rate": 0.001, "hidden_dropout_prob": 0.5, "n_layers": 2, "train_batch_size": 2048}
ENDED = [TrialRecord(n, State.COMPLETE, PARAMS, 0.2 - n / 100, 2020, 10, 5, 20.0) for n in range(3)]


def progress_of(records: list[TrialRecord], trials: int = 9, epochs: int = 50, workers: int = 1) -> Progress:
    return make_progress(tuple(PARAMS), parse_metric("NDCG@10"), True, trials, epochs, workers, records)


def after_one_epoch(progress: Progress, width: int) -> list[str]:
    """The lines of the live view while trial 3 is in its second epoch, which takes 2 seconds."""
    console = Console(width=width, height=24)
    view = LiveView(progress, console)
    view.on_trial_start(3, PARAMS)
    view.on_report(REPORT)
    with console.capture() as captured:
        console.print(view.render())
    return captured.get().splitlines()


def test_time_left_is_unknown_before_the_first_epoch() -> None:
    progress = progress_of([])
    PlainView(progress, Console(file=io.StringIO())).on_trial_start(3, PARAMS)
    assert progress.time_left() == ""


@pytest.mark.parametrize(
    ("records", "workers", "text"),
    [
        # 9 trials of 50 epochs of 2 seconds, without the first epoch.
        ([], 1, "at most 15m left"),
        ([], 4, "at most 4m left"),
        # Trials end after 10 epochs: 5 of 10 epochs, and 9 epochs of the running one.
        (ENDED, 1, "about 2m left"),
        # Paused trials may go on: 6 of 50 epochs, without 1 of the running one and 20 of a paused one.
        ([*ENDED, replace(PAUSED, number=7, epochs=20, seconds=40.0)], 1, "at most 10m left"),
    ],
)
def test_time_left_is_shown_from_the_first_epoch_on(
    records: list[TrialRecord], workers: int, text: str
) -> None:
    assert after_one_epoch(progress_of(records, workers=workers), 80)[-1].endswith(text)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_live_view_names_its_numbers(width: int) -> None:
    lines = after_one_epoch(progress_of(ENDED), width)
    assert max(map(len, lines)) <= width and not any("…" in line.split("=")[0] for line in lines)
    header, running = next((line, below) for line, below in itertools.pairwise(lines) if "elapsed" in line)
    assert header.split()[:7] == ["trial", "epoch", "NDCG@10", "loss", "epoch", "takes", "elapsed"]
    assert running.split()[:5] == ["3", "1/50", "0.0500", "1.0000", "2.0s"]
    assert ("learning curve" in header) == (width >= 100)


@pytest.mark.parametrize("width", [100, 120, 200])
def test_live_view_shows_the_parameters_whole_where_they_fit_in_a_line(width: int) -> None:
    progress = progress_of(ENDED)
    assert any(progress.text(PARAMS) in line for line in after_one_epoch(progress, width))


@pytest.mark.parametrize("height", [10, 24])
def test_live_view_fits_the_window(height: int) -> None:
    console = Console(width=60, height=height)
    view = LiveView(progress_of(ENDED * 5, trials=90, workers=20), console)
    for number in range(20):
        view.on_trial_start(number, PARAMS)
    assert len(console.render_lines(view.render())) <= height
