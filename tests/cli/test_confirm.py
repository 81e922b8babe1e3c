"""Confirmations on a real Optuna study in SQLite, with a function in place of training."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from rich.console import Console

from sasrecf_tune.analysis.confirmation import Confirmation, on_validation, rank_confirmed
from sasrecf_tune.cli.confirm import confirm_best
from sasrecf_tune.cli.session import Display
from sasrecf_tune.errors import StorageError, StudyNotFoundError
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report, Result
from sasrecf_tune.report.confirmation_text import luck_text, sentences
from sasrecf_tune.report.formats.best_yaml import best_yaml
from sasrecf_tune.report.formats.confirmation import all_runs, confirmation_content, confirmation_csv
from sasrecf_tune.report.formats.latex import confirmed_latex, latex
from sasrecf_tune.report.page.render import render_page
from sasrecf_tune.report.study_files import ResultFiles
from sasrecf_tune.report.study_sections import show_confirmed
from sasrecf_tune.report.text import json_text
from sasrecf_tune.search.confirmation_study import load_confirmations, plan_confirmation
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.database.study_name import check_begun
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest, write_manifest
from sasrecf_tune.trials import State, rank
from tests.support.bench import GRID, Bench, bench, quality
from tests.support.fake_training import FakeTraining, Interrupting, PausableTraining
from tests.support.known_studies import known_report_data

RATES = "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001]\n"


def lucky(config: Mapping[str, Any]) -> float:
    """On the search's seed, 1, the greater the rate the better; on fresh ones 0.01 is best."""
    rate, seed = float(config["learning_rate"]), int(config["seed"])
    if seed == 1:
        return rate
    return round(0.05 - abs(rate - 0.01) + seed % 3 / 1000 + (seed * rate * 1e4 % 7) / 1e5, 4)


def confirm(run: Bench, top: int, seeds: int) -> tuple[int, str]:
    """Exit code and output."""
    if not run.study_dir.manifest.exists():
        write_manifest(run.study_dir, {})
    search = replace(run.plan.settings.search, confirm=top, confirm_seeds=seeds)
    plan = replace(run.plan, settings=replace(run.plan.settings, search=search))
    out = io.StringIO()
    display = Display(Console(file=out, width=200), as_json=False)
    code = confirm_best(plan, run.study_dir, run.storage, run.records(), run.executor, display)
    return code, out.getvalue()


def rows(study_dir: StudyDirectory) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(study_dir.confirmation_csv.read_text())))


def runs_trained(run: Bench, training: FakeTraining, asked: Iterable[tuple[int, int]]) -> list[int]:
    """How many runs each confirmation trains; each of `asked` is a --top and a --seeds."""
    counts = []
    for top, seeds in asked:
        del training.jobs[:]
        assert confirm(run, top, seeds)[0] == 0
        counts.append(len(training.jobs))
    return counts


def confirmed(run: Bench) -> Confirmation:
    _, whole, _ = load_confirmations(run.study_dir, run.storage, run.plan.space, run.records())
    assert whole is not None
    return whole


def best(study_dir: StudyDirectory) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(study_dir.best.read_text())
    return loaded


def test_the_best_trials_are_trained_on_fresh_seeds_and_ranked_by_mean(tmp_path: Path) -> None:
    training = FakeTraining(lucky)
    with bench(tmp_path, RATES, training, sampler="grid") as run:
        run.search.run()
        assert best(run.study_dir)["learning_rate"] == 0.1
        del training.jobs[:]
        code, out = confirm(run, 3, 4)
        assert code == 0
        assert [job.config["seed"] for job in training.jobs] == [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
        assert {job.config["learning_rate"] for job in training.jobs} == {0.1, 0.03, 0.01}
        trials = {record.params["learning_rate"]: record.number for record in run.records()}
        assert f"Trial {trials[0.01]} is better than the other 2 configurations" in out
        # The seed that best.yaml has is the one that was best on validation.
        scores = {seed: lucky({"learning_rate": 0.01, "seed": seed}) for seed in (2, 3, 4, 5)}
        found = best(run.study_dir)
        assert (found["learning_rate"], found["seed"]) == (0.01, max(scores, key=lambda seed: scores[seed]))
        assert "confirmed on 4 fresh seeds (2 to 5)" in run.study_dir.best.read_text()
        recorded = read_manifest(run.study_dir)["confirmation"]
        assert recorded["seeds"] == [2, 3, 4, 5] and recorded["top"] == 3
        assert recorded["versions"]["torch"]
        written = rows(run.study_dir)
        assert len(written) == 12
        for row in written:
            config = {"learning_rate": row["learning_rate"], "seed": row["seed"]}
            assert float(row["valid mrr@10"]) == pytest.approx(lucky(config))
            assert float(row["test mrr@10"]) == pytest.approx(-lucky(config))
            assert trials[float(row["learning_rate"])] == int(row["trial"])
        assert f"| 1 | {trials[0.01]} |" in run.study_dir.confirmation_md.read_text()
        results = read_results(run.study_dir, run.plan.settings, run.plan.space, None)
        assert results.winner is not None and results.origin is not None
        assert best_yaml(results.winner, run.plan.settings, run.plan.space) == run.study_dir.best.read_text()
        assert results.origin.valid == pytest.approx({"mrr@10": max(scores.values())})
        # In the search it had 0.01, less than here; the one with 0.1 was lucky there.
        assert "partly luck" not in out
        assert results.complete_confirmation is not None
        verdict, metric = rank_confirmed(results.complete_confirmation, True), run.plan.settings.metric
        lucky_one = replace(verdict, places=tuple(p for p in verdict.places if p.trial == trials[0.1]))
        assert "had 0.1000. The best of many" in luck_text(lucky_one, results.records, metric)


def test_the_winner_is_not_selected_on_the_test_set(tmp_path: Path) -> None:
    # FakeTraining's test score is the negative of its validation score: what is best on test is worst here.
    with bench(
        tmp_path, RATES, FakeTraining(lambda config: 0.05 - float(str(config["learning_rate"])))
    ) as run:
        run.search.run()
        tests = run.study.test_metrics()
        leak = max(tests, key=lambda number: tests[number]["mrr@10"])
        first = rank(run.records(), True)[0].record
        assert leak != first.number and best(run.study_dir)["learning_rate"] == first.params["learning_rate"]
        confirm(run, 5, 2)
        whole = confirmed(run)
        assert leak in whole.configurations
        results = read_results(run.study_dir, run.plan.settings, run.plan.space, None)
        assert results.winner is not None and results.winner.trial == first.number
        assert best(run.study_dir)["learning_rate"] == first.params["learning_rate"]
        assert max(whole.tests, key=lambda run: whole.tests[run]["mrr@10"])[0] == leak


def test_more_seeds_or_configurations_keep_the_existing_runs(tmp_path: Path) -> None:
    training = FakeTraining(lucky)
    with bench(tmp_path, RATES, training, sampler="grid") as run:
        run.search.run()
        asked = ((2, 2), (2, 2), (2, 3), (4, 3), (2, 3))
        assert runs_trained(run, training, asked) == [4, 0, 2, 6, 0]
        # What has all runs stays in the comparison, though only two were asked for.
        assert len(confirmed(run).configurations) == 4
        configurations = {(job["learning_rate"], job["seed"]) for job in rows(run.study_dir)}
        assert len(configurations) == len(rows(run.study_dir)) == 12


def searched(directory: Path) -> None:
    with bench(directory, RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()


@pytest.mark.parametrize("after", [1, 28])
def test_a_resumed_confirmation_has_the_results_of_an_uninterrupted_one(tmp_path: Path, after: int) -> None:
    for name in ("whole", "cut"):
        searched(tmp_path / name)
    with bench(tmp_path / "whole", RATES, FakeTraining(lucky), sampler="grid") as run:
        confirm(run, 3, 2)
        whole = run.study_dir.confirmation_csv.read_text()
    with bench(tmp_path / "cut", RATES, Interrupting(lucky, after), sampler="grid") as run:
        before = run.study_dir.best.read_text()
        with pytest.raises(KeyboardInterrupt):
            confirm(run, 3, 2)
        # Half of a confirmation decides nothing.
        assert run.study_dir.best.read_text() == before
        results = read_results(run.study_dir, run.plan.settings, run.plan.space, None)
        assert (
            results.complete_confirmation is None
            and results.latest_confirmation is not None
            and not results.latest_confirmation.complete
        )
    again = FakeTraining(lucky)
    with bench(tmp_path / "cut", RATES, again, sampler="grid") as run:
        confirm(run, 3, 2)
        assert run.study_dir.confirmation_csv.read_text() == whole
        assert [job.number for job in again.jobs] == list(range((after - 1) // 5, 6))


def test_an_interrupted_run_that_is_no_longer_requested_is_not_trained(tmp_path: Path) -> None:
    text = "learning_rate choice [0.1, 0.03, 0.01, 0.003, 0.001]\nn_layers choice [1, 2, 3]\n"

    def score(config: Mapping[str, Any]) -> float:
        return float(config["learning_rate"]) + float(config["n_layers"])

    with bench(tmp_path, text, FakeTraining(score), sampler="grid", trials=3) as run:
        run.search.run()
        planned = plan_confirmation(run.plan, run.study_dir, run.storage, run.records(), 3, 1)
        # As if killed: the runs are asked for, but have no result.
        for _ in range(3):
            planned.study.ask(distributions(planned.plan.space), lambda params: {})
    training = FakeTraining(score)
    with bench(tmp_path, text, training, sampler="grid") as run:
        run.search.run()
        top = {
            (r.record.params["learning_rate"], r.record.params["n_layers"])
            for r in rank(run.records(), True)[:3]
        }
        del training.jobs[:]
        assert confirm(run, 3, 1)[0] == 0
        assert {(job.config["learning_rate"], job.config["n_layers"]) for job in training.jobs} == top
        assert all(row["state"] == State.COMPLETE for row in rows(run.study_dir))
        # And when they are asked for again, they are trained.
        del training.jobs[:]
        assert confirm(run, 15, 1)[0] == 0
        assert len(training.jobs) == 12 and len(rows(run.study_dir)) == 15
        assert confirmed(run).complete


def test_a_continued_search_keeps_the_confirmed_winner_until_a_better_trial(tmp_path: Path) -> None:
    # The grid's order is random, but always the same: what is tried last is the best there is.
    with bench(tmp_path / "order", RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()
        last = run.records()[-1].params["learning_rate"]

    def score(config: Mapping[str, Any]) -> float:
        return 9.0 if config["learning_rate"] == last else lucky(config)

    def search(trials: int) -> str:
        with bench(tmp_path, RATES, FakeTraining(score), sampler="grid", trials=trials) as run:
            _, whole, _ = load_confirmations(run.study_dir, run.storage, run.plan.space, run.records())
            files = ResultFiles(run.study_dir, run.plan, run.study, confirmed=whole)
            Coordinator(run.plan, run.study, run.study_dir, run.executor, [files]).run()
            return run.study_dir.best.read_text()

    def confirm_again() -> str:
        with bench(tmp_path, RATES, FakeTraining(score), sampler="grid", trials=1) as run:
            confirm(run, 2, 2)
            return run.study_dir.best.read_text()

    assert "confirmed on" not in search(3)
    confirmed_best = confirm_again()
    assert "confirmed on" in confirmed_best
    assert search(4) == confirmed_best
    newest = search(5)
    assert "confirmed on" not in newest and yaml.safe_load(newest)["learning_rate"] == last
    newest = confirm_again()
    assert "confirmed on" in newest and yaml.safe_load(newest)["learning_rate"] == last


def test_failed_runs_are_reported_and_their_seed_is_excluded(tmp_path: Path) -> None:
    class Failing(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.config["seed"] == 3 and job.config["learning_rate"] == 0.03:
                return Failure(
                    job.number, FailureKind.NAN, "the training loss became NaN", epochs=1, seconds=2.0
                )
            return super().train(job, on_report)

    with bench(tmp_path, RATES, Failing(lucky), sampler="grid") as run:
        run.search.run()
        code, out = confirm(run, 3, 4)
        trial = next(r.number for r in run.records() if r.params["learning_rate"] == 0.03)
        states = [row["state"] for row in rows(run.study_dir)]
    assert code == 0 and states.count(State.FAILED) == 1
    assert f"Seed 3 is excluded because trial {trial} failed on it." in out
    assert f"trial {trial} on seed 3 failed: the training loss became NaN" in out


def test_a_confirmation_without_completed_runs_does_not_change_best_yaml(tmp_path: Path) -> None:
    class Failing(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            if job.config["seed"] != 1:
                return Failure(job.number, FailureKind.NAN, "the training loss became NaN")
            return super().train(job, on_report)

    with bench(tmp_path, RATES, Failing(lucky), sampler="grid") as run:
        run.search.run()
        before = run.study_dir.best.read_text()
        code, out = confirm(run, 2, 2)
        assert code == 1 and "No run has completed." in out
        assert run.study_dir.best.read_text() == before


def test_a_study_without_completed_trials_cannot_be_confirmed(tmp_path: Path) -> None:
    with (
        bench(tmp_path, RATES, FakeTraining(lucky), sampler="grid") as run,
        pytest.raises(StudyNotFoundError),
    ):
        confirm(run, 2, 2)


def test_paused_trials_without_predictions_are_not_confirmed_and_the_output_says_so(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, PausableTraining(lucky), pausing=True) as run:
        run.search.run()
        completed = sum(record.state == State.COMPLETE for record in run.records())
        _, out = confirm(run, completed, 2)
        assert "paused trials" not in out
        _, out = confirm(run, completed + 1, 2)
        configurations = "configuration" if completed == 1 else "configurations"
        few = f"only {completed} {configurations}: paused trials without a predicted score are not confirmed."
        assert f"{few} To train more" in out
        assert f"sasrecf-tune resume study --out {tmp_path} --until never\n" in out


def test_fewer_configurations_than_asked_for_are_explained(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()
        _, out = confirm(run, 5, 1)
        assert "\nonly " not in out
        _, out = confirm(run, 6, 1)
        assert "only 5 configurations: the search has no others that are complete or paused\n" in out


def small_ones_win(config: Mapping[str, Any]) -> float:
    """On fresh seeds what the search found bad is good."""
    return quality(config) if config["seed"] == 1 else 0.3 - quality(config)


@pytest.fixture
def training() -> PausableTraining:
    return PausableTraining(small_ones_win)


@pytest.fixture
def paused(tmp_path: Path, training: PausableTraining) -> Iterator[Bench]:
    """A default search that has ended by itself: few trials are complete, and more are paused."""
    with bench(tmp_path, GRID, training, "auto") as run:
        run.search.run()
        states = [record.state for record in run.records()]
        assert states.count(State.COMPLETE) < 3 < states.count(State.PAUSED)
        yield run


def predicted_best(run: Bench) -> list[int]:
    """The trials in the order in which they are confirmed."""
    records = run.records()
    choice = rank(records, maximize=True)[0].record.number
    known = {record.number: record.predicted.mean for record in records if record.predicted}
    return sorted(known, key=lambda number: (number != choice, -known[number]))


def test_paused_trials_with_high_predictions_are_confirmed(paused: Bench, training: PausableTraining) -> None:
    order = predicted_best(paused)
    del training.jobs[:]
    before = {record.number: record for record in paused.records()}
    kept = {path: path.read_bytes() for path in paused.study_dir.saved()}
    code, out = confirm(paused, 4, 2)
    assert code == 0 and "\nonly " not in out
    assert list(confirmed(paused).configurations) == order[:4]
    assert len(training.jobs) == 8
    taken = sorted(number for number in order[:4] if before[number].state == State.PAUSED)
    assert taken and f"trials {', '.join(map(str, taken))} were paused, but predicted" in out
    # They stay paused, and go on from where they are when the search goes on.
    assert {record.number: record for record in paused.records()} == before
    assert {path: path.read_bytes() for path in paused.study_dir.saved()} == kept


def test_a_paused_trial_may_win(paused: Bench) -> None:
    confirm(paused, 99, 3)
    settings, space = paused.plan.settings, paused.plan.space
    results = read_results(paused.study_dir, settings, space, None)
    assert results.winner is not None and results.origin is not None
    trial = next(record for record in results.records if record.number == results.winner.trial)
    assert trial.state == State.PAUSED
    record = results.winner.record
    assert record.state == State.COMPLETE and record.epochs == 5 and record.params["seed"] != 1
    assert results.origin.test == pytest.approx({"mrr@10": -small_ones_win(record.params)})
    text = paused.study_dir.best.read_text()
    assert text == best_yaml(results.winner, settings, space)
    assert f"trial {trial.number} of the study study, confirmed on 3 fresh seeds" in text
    assert yaml.safe_load(text).items() >= record.params.items()
    data = replace(
        known_report_data(3),
        space=space,
        records=results.records,
        curves=results.curves,
        confirmation=results.confirmation,
        winner=results.winner,
        unit=settings.unit,
        summary=results.summary,
    )
    page = render_page(data)
    assert f"Confirmed: trial {trial.number} with" in page
    assert f"The confirmed best: trial {trial.number}" in page
    # Nothing is new to a confirmation that has all.
    console = Console(file=io.StringIO(), width=200)
    show_confirmed(data, results, paused.study_dir, console)
    assert "would now have" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_paused_trial_that_was_confirmed_stays_the_best_when_the_search_trains_it(tmp_path: Path) -> None:
    with bench(tmp_path, GRID, PausableTraining(small_ones_win), "auto") as run:
        run.search.run()
        count = len(run.records())
        confirm(run, count, 2)
        before = best(run.study_dir)
    with bench(tmp_path, GRID, PausableTraining(small_ones_win), "auto", trials=count, until=0.0) as run:
        run.search.run()
        assert {record.state for record in run.records()} == {State.COMPLETE}
        results = read_results(run.study_dir, run.plan.settings, run.plan.space, None)
        assert results.winner is not None and results.winner.confirmation is not None
        assert confirm(run, count, 2)[0] == 0
        assert best(run.study_dir) == before


def test_more_paused_trials_are_added_to_what_was_confirmed(
    paused: Bench, training: PausableTraining
) -> None:
    asked = ((1, 2), (3, 2), (4, 2), (2, 2), (2, 3))
    assert runs_trained(paused, training, asked) == [2, 4, 2, 0, 2]
    results = read_results(paused.study_dir, paused.plan.settings, paused.plan.space, None)
    console = Console(file=io.StringIO(), width=200)
    shown = replace(known_report_data(3), confirmation=results.confirmation, unit=0.0001)
    show_confirmed(shown, results, paused.study_dir, console)
    assert "would now have" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_confirmed_paused_trial_stays_when_its_prediction_is_outdated(
    paused: Bench, training: PausableTraining
) -> None:
    confirm(paused, 4, 2)
    before = best(paused.study_dir)
    summary = paused.study.summary
    assert summary is not None
    paused.study.record_summary(replace(summary, completed=summary.completed + 1))
    assert not any(record.predicted for record in paused.records())
    del training.jobs[:]
    _, out = confirm(paused, 4, 2)
    assert len(confirmed(paused).configurations) == 4 and not training.jobs
    assert best(paused.study_dir) == before and "\nonly " not in out


@pytest.mark.parametrize("after", [6, 18])
def test_an_interrupted_confirmation_of_paused_trials_goes_on(tmp_path: Path, after: int) -> None:
    with bench(tmp_path, GRID, PausableTraining(small_ones_win), "auto") as run:
        run.search.run()
    with bench(tmp_path, GRID, Interrupting(small_ones_win, after), "auto") as run:
        with pytest.raises(KeyboardInterrupt):
            confirm(run, 3, 2)
        order = predicted_best(run)
    again = FakeTraining(small_ones_win)
    with bench(tmp_path, GRID, again, "auto") as run:
        assert confirm(run, 3, 2)[0] == 0
        assert list(confirmed(run).configurations) == order[:3]
        assert [job.number for job in again.jobs] == list(range((after - 1) // 5, 6))


def test_a_tuned_seed_is_not_part_of_a_configuration(tmp_path: Path) -> None:
    text = "learning_rate choice [0.1, 0.01]\nseed choice [7, 5, 6]\n"
    training = FakeTraining(
        lambda config: float(str(config["learning_rate"])) + float(str(config["seed"])) / 1e3
    )
    with bench(tmp_path, text, training) as run:
        run.search.run()
        del training.jobs[:]
        assert confirm(run, 5, 2)[0] == 0
        jobs = [(job.config["learning_rate"], job.config["seed"]) for job in training.jobs]
        assert jobs == [(0.1, 8), (0.01, 8), (0.1, 9), (0.01, 9)]
        assert best(run.study_dir)["seed"] == 9


def test_the_checkpoint_of_the_chosen_run_is_kept(tmp_path: Path) -> None:
    class Saving(FakeTraining):
        def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
            job.checkpoint.parent.mkdir(exist_ok=True)
            job.checkpoint.write_bytes(b"weights")
            assert job.resume_file is not None
            job.resume_file.write_bytes(b"to continue from")
            return super().train(job, on_report)

    with bench(tmp_path, RATES, Saving(lucky), sampler="grid") as run:
        run.search.run()
        before = {path.name for path in run.study_dir.checkpoints.iterdir()}
        confirm(run, 3, 3)
        results = read_results(run.study_dir, run.plan.settings, run.plan.space, None)
        assert results.winner is not None
        kept = run.study_dir.confirmation.checkpoint(results.winner.record.number).name
        assert {path.name for path in run.study_dir.checkpoints.iterdir()} == before | {kept}


def test_optuna_can_load_the_confirmation_study(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()
        confirm(run, 2, 2)
        with run.study.storage.transaction():  # one transaction, though two studies were opened
            run.study.optuna.set_user_attr("seen", 1)
            seen = optuna.load_study(study_name="study", storage=f"sqlite:///{run.study_dir.database}")
            assert "seen" not in seen.user_attrs
    studies = optuna.get_all_study_summaries(f"sqlite:///{run.study_dir.database}")
    assert [study.study_name for study in studies] == ["study", "study confirmation"]
    found = optuna.load_study(study_name="study confirmation", storage=f"sqlite:///{run.study_dir.database}")
    assert [trial.params["seed"] for trial in found.trials] == [2, 2, 3, 3]
    assert all(len(trial.intermediate_values) == 5 for trial in found.trials)
    assert found.best_trial.user_attrs["test"]


def test_json_events_of_a_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()
        write_manifest(run.study_dir, {})
        search = replace(run.plan.settings.search, confirm=2, confirm_seeds=2)
        plan = replace(run.plan, settings=replace(run.plan.settings, search=search))
        display = Display(Console(file=io.StringIO()), as_json=True)
        confirm_best(plan, run.study_dir, run.storage, run.records(), run.executor, display)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "confirmation" and events[0]["runs"] == 4
    started = [event for event in events if event["event"] == "started"]
    assert [(event["run"], event["seed"]) for event in started] == [(0, 2), (1, 2), (2, 3), (3, 3)]
    assert {event["trial"] for event in started} == set(events[0]["trials"])
    assert events[-1]["event"] == "confirmed" and events[-1]["complete"]


def test_the_page_and_latex_contain_the_confirmation(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky)) as run:
        run.search.run()
        confirm(run, top=3, seeds=3)
        confirmation = confirmed(run)
    verdict = rank_confirmed(confirmation, maximize=True, unit=0.0001)
    names = run.plan.space.names
    page = render_page(replace(known_report_data(3), confirmation=confirmation, unit=0.0001))
    section = page.partition('<section id="confirmation">')[2].partition("</section>")[0]
    table = confirmed_latex(confirmation, verdict, names, parse_metric("MRR@10"), "SASRecF", "ml-100k")
    assert section.count("<tr>") == 1 + 3
    for place in verdict.places:
        assert f"{place.score.mean:.4f} ± {place.score.half_interval:.4f}" in section
        assert f"{place.score.mean:.4f}" in table and f"{place.score.sd:.4f}" in table
    assert rf"\textbf{{{verdict.places[0].score.mean:.4f}}}" in table
    for sentence in sentences(confirmation, verdict):
        assert sentence in unescape(section) and latex(sentence) in table


def test_confirming_with_fewer_seeds_keeps_all_runs(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky)) as run:
        run.search.run()
        confirm(run, 3, 4)
        before = best(run.study_dir), rows(run.study_dir)
        code, out = confirm(run, 3, 2)
        assert code == 0 and "on 4 fresh seeds" in out
        assert (best(run.study_dir), rows(run.study_dir)) == before


def test_nan_metrics_are_left_out(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky)) as run:
        run.search.run()
        confirm(run, 2, 2)
        found = confirmed(run)
    first, second = found.wanted[:2]
    odd = replace(found.runs[first], valid={**found.runs[first].valid, "giniindex@10": math.nan})
    other = replace(found.runs[second], valid={**found.runs[second].valid, "giniindex@10": math.nan})
    spoilt = replace(found, runs={**found.runs, first: odd, second: other})
    verdict = rank_confirmed(spoilt, maximize=True)
    assert "giniindex@10" not in on_validation(spoilt, verdict, first[0])
    assert "NaN" not in json_text(confirmation_content(spoilt, verdict))


def test_a_deleted_study_is_not_created_again(tmp_path: Path) -> None:
    with bench(tmp_path, RATES, FakeTraining(lucky)) as run:
        run.search.run()
        confirm(run, 2, 2)
        check_begun(run.study_dir, run.storage, None)
        optuna.delete_study(study_name=run.study_dir.name, storage=run.storage)
        with pytest.raises(StorageError, match="If the study was deleted"):
            check_begun(run.study_dir, run.storage, None)
        with pytest.raises(CorruptStudyError):
            load_confirmations(run.study_dir, run.storage, run.plan.space, [])


def test_runs_of_a_configuration_that_is_not_known_here_yet_are_listed_last(tmp_path: Path) -> None:
    # Another `confirm` on the same database confirms a trial that was trained after this one began.
    with bench(tmp_path, RATES, FakeTraining(lucky), sampler="grid") as run:
        run.search.run()
        confirm(run, 3, 2)
        study, whole, _ = load_confirmations(run.study_dir, run.storage, run.plan.space, run.records())
        assert study is not None and whole is not None
        newest, *known = reversed(list(whole.configurations))
        older = replace(whole, configurations={trial: whole.configurations[trial] for trial in known})
        trials = [record for record in run.records() if record.number != newest]
        listed = [trial for trial, _ in all_runs(study.records(), older, trials)]
        assert listed == [*sorted(2 * known), None, None]
        names, metrics = run.plan.space.names, ("mrr@10",)
        lines = confirmation_csv(all_runs(study.records(), older, trials), {}, names, metrics).splitlines()
    assert [row["trial"] for row in csv.DictReader(lines)][-3:] == [str(max(known)), "", ""]
