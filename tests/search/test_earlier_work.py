"""Trials of earlier searches in a study: which count, how they rank, and what the search makes of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection

from sasrecf_tune.errors import InputError, ResultsFileError
from sasrecf_tune.inputs.settings import EarlierOptions, Sampler
from sasrecf_tune.report.earlier_text import earlier_lines
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.storage.manifest import settings_content, write_manifest
from sasrecf_tune.trials import State, TrialRecord, rank
from tests.support.bench import GRID, bench, cells, quality
from tests.support.fake_training import FakeTraining, PausableTraining
from tests.support.hostile_files import SCHEMAS

# As many epochs as the fake training has.
BASE = {"epochs": 5}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The directory of a study that has trained four of the twelve cells of GRID."""
    with bench(tmp_path / "first", GRID, FakeTraining(quality), "grid", trials=4, base=BASE) as run:
        run.search.run()
        plan = run.plan
        content = settings_content(plan.settings, plan.space, None)
        write_manifest(run.study_dir, content | {"identity": plan.identity(), "data": vars(plan.data)})
    return tmp_path / "first" / "study"


def imported(*places: Path | str, trust: bool = False) -> EarlierOptions:
    return EarlierOptions([], [str(place) for place in places], trust)


def shown(records: list[TrialRecord]) -> list[tuple[Any, ...]]:
    return [(r.params, r.score, r.state, r.epochs, r.best_epoch, r.seed, r.valid) for r in records]


def test_trials_that_are_not_trusted_rank_last_and_are_trained_again(tmp_path: Path, first: Path) -> None:
    training = FakeTraining(quality)
    earlier = imported(first / "study.db")
    with bench(tmp_path / "second", GRID, training, "grid", base=BASE, earlier=earlier) as run:
        assert run.said == ["imported 4 trials"]
        outcome = run.search.run()
        rows = rank(run.records(), True)
        files = run.study_dir
    assert outcome == Outcome("all 12 trials have ended", 12)
    assert len(training.jobs) == 12
    assert [bool(row.record.imported) for row in rows] == [False] * 12 + [True] * 4
    assert [row.rank for row in rows][12:] != [None] * 4
    assert "imported" in files.ranking_md.read_text()
    lines = files.trials.read_text().splitlines()
    assert lines[0].endswith(",imported")
    assert [line.endswith("study.db") for line in lines[1:]] == [True] * 4 + [False] * 12


@pytest.mark.parametrize("sampler", ["grid", "random", "auto"])
def test_trusted_trials_are_not_trained_again(tmp_path: Path, first: Path, sampler: Sampler) -> None:
    training = PausableTraining(quality)
    earlier = imported(first / "study.db", trust=True)
    until: dict[str, Any] = {"until": 0.0} if sampler == "auto" else {}
    with bench(tmp_path / "second", GRID, training, sampler, base=BASE, earlier=earlier, **until) as run:
        before = cells(run.records())
        run.search.run()
        records = run.records()
    trained = {tuple(job.config[name] for name in records[0].params) for job in training.jobs}
    assert not trained & set(before)
    assert len(trained) == 8
    assert len(set(cells(records))) == len(records) == 12
    best = rank(records, True)[0].record
    assert best.score == max(record.score or 0.0 for record in records)


def test_trusted_trials_of_configurations_that_were_trained_here_take_no_trial_away(
    tmp_path: Path, first: Path
) -> None:
    worse = FakeTraining(lambda config: quality(config) / 2)
    with bench(tmp_path / "s", GRID, worse, "grid", trials=6, base=BASE) as run:
        run.search.run()
    earlier = imported(first / "study.db", trust=True)
    with bench(tmp_path / "s", GRID, worse, "grid", base=BASE, earlier=earlier) as run:
        assert run.said == ["imported 4 trials"]
        outcome = run.search.run()
        records = run.records()
    assert outcome == Outcome("all 12 trials have ended", 12)
    assert len(records) == 12 + 4 and len(set(cells(records))) == 12


def test_a_space_that_is_covered_needs_no_training(tmp_path: Path) -> None:
    with bench(tmp_path / "first", GRID, FakeTraining(quality), "grid", base=BASE) as run:
        run.search.run()
    samplers: tuple[Sampler, ...] = ("grid", "auto")
    for sampler in samplers:
        training = FakeTraining(quality)
        earlier = imported(tmp_path / "first" / "study" / "study.db", trust=True)
        directory = tmp_path / sampler
        with bench(directory, GRID, training, sampler, base=BASE, earlier=earlier) as run:
            outcome = run.search.run()
            assert outcome.reason == "every configuration has a finished trial, which was imported"
            assert not training.jobs
            assert "Imported from" in run.study_dir.best.read_text()


def test_the_default_search_may_choose_an_untrusted_configuration_and_trains_it(
    tmp_path: Path, first: Path
) -> None:
    training = PausableTraining(quality)
    earlier = imported(first / "study.db")
    with bench(tmp_path / "s", GRID, training, "auto", base=BASE, earlier=earlier, until=0.0) as run:
        run.search.run()
        records = run.records()
        summary = run.study.current_summary()
    own = [record for record in records if not record.imported and record.state == State.COMPLETE]
    assert len(set(cells(own))) == len(own) == 12
    assert summary is not None and summary.untried == 0
    assert rank(records, True)[0].record in [r for r in run.study.predicted(records) if not r.imported]


def test_limits_count_the_trials_that_are_trained_here(tmp_path: Path, first: Path) -> None:
    samplers: tuple[Sampler, ...] = ("tpe", "auto")
    for sampler in samplers:
        training = PausableTraining(quality)
        earlier = imported(first / "study.db", trust=True)
        directory = tmp_path / sampler
        with bench(
            directory, GRID, training, sampler, base=BASE, trials=3, earlier=earlier, until=0.0
        ) as run:
            run.search.run()
            records = run.records()
        assert sum(not record.imported for record in records) == 3


def test_the_same_command_again_imports_nothing_twice(tmp_path: Path, first: Path) -> None:
    places = (first / "study.db", first / "ranking.csv", first / "hyper.result")
    for said in ("imported 4 trials; the study has 8 already", "imported 0 trials; the study has 12 already"):
        with bench(tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=imported(*places)) as run:
            assert run.said == [said]
            assert len(run.records()) == 4
    earlier = imported(first / "study.db", trust=True)
    with bench(tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=earlier) as run:
        assert run.said == [
            "imported 0 trials; the study has 4 already, "
            "4 of them imported without --trust, and these stay so"
        ]
        assert all(record.provisional for record in run.records())


def test_a_table_that_is_exported_and_imported_is_the_same_but_for_the_mark(
    tmp_path: Path, first: Path
) -> None:
    with bench(tmp_path / "first", GRID, FakeTraining(quality), "grid", trials=4, base=BASE) as run:
        before = run.records()
    alone = tmp_path / "trials.csv"  # without the manifest that is beside it in a study directory
    alone.write_bytes((first / "trials.csv").read_bytes())
    with bench(
        tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=imported(alone, trust=True)
    ) as run:
        after = run.records()
        table = run.study_dir.trials.read_text()
    assert shown(after) == shown(before)
    assert all(record.imported == str(alone) for record in after)
    unmarked = table.replace(str(alone), "").splitlines()
    expected = alone.read_text().splitlines()
    assert unmarked == expected


def test_curves_come_along(tmp_path: Path, first: Path) -> None:
    with bench(tmp_path / "first", GRID, FakeTraining(quality), "grid", trials=4, base=BASE) as run:
        curves = run.study.curves()
    for place, expected in ((first / "study.db", curves[0]), (first / "trials.csv", curves[0][-1:])):
        earlier = imported(place)
        with bench(tmp_path / place.name, GRID, FakeTraining(quality), base=BASE, earlier=earlier) as run:
            assert run.study.curves()[0] == expected


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"base": {"epochs": 9}}, "epochs=5, here 9"),
        ({"base": BASE | {"hidden_size": 128}}, "hidden_size=64, here 128"),
        ({"base": BASE | {"eval_args": {"mode": "uni100"}}}, "eval_args="),
        (
            {"base": BASE | {"item_inter_num_interval": "[5,inf)"}},
            "item_inter_num_interval=None, here [5,inf)",
        ),
        ({"metric": "NDCG@10"}, "metric MRR@10, here NDCG@10"),
        ({"text": GRID.replace("0.1, 0.01", "0.2, 0.02").replace("0.001", "0.002")}, "`learning_rate` is"),
    ],
)
def test_what_differs_does_not_count_and_is_said(
    tmp_path: Path, first: Path, changed: dict[str, Any], reason: str
) -> None:
    settings: dict[str, Any] = {"text": GRID, "training": FakeTraining(quality), "base": BASE} | changed
    earlier = imported(first / "study.db", trust=True)
    with bench(tmp_path / "second", earlier=earlier, **settings) as run:
        (work,) = run.plan.earlier
        assert not run.records()
    assert (work.trials, work.counted) == (4, 0)
    assert any(why.startswith(reason) and count == 4 for why, count in work.reasons.items())
    assert "none counts" in earlier_lines(work)[0]


def test_a_trial_that_ended_early_counts_whatever_the_limit_on_epochs(tmp_path: Path, first: Path) -> None:
    for was, now, counted in ((20, 30, 4), (20, 5, 0), (5, 20, 0)):
        with bench(
            tmp_path / f"{was}", GRID, FakeTraining(quality), "grid", trials=4, base={"epochs": was}
        ) as run:
            run.search.run()
        earlier = imported(tmp_path / f"{was}" / "study" / "study.db")
        with bench(
            tmp_path / f"{was}-{now}", GRID, FakeTraining(quality), base={"epochs": now}, earlier=earlier
        ) as run:
            assert run.plan.earlier[0].counted == counted


def test_a_study_of_another_space_counts_where_its_fixed_settings_are_values_here(
    tmp_path: Path, first: Path
) -> None:
    with bench(
        tmp_path / "small",
        "learning_rate choice [0.1, 0.01]\n",
        FakeTraining(lambda config: float(str(config["learning_rate"]))),
        "grid",
        base=BASE | {"n_heads": 1},
    ) as run:
        run.search.run()
    earlier = imported(tmp_path / "small" / "study" / "study.db")
    with bench(tmp_path / "second", GRID, FakeTraining(quality), base=BASE, earlier=earlier) as run:
        # RecBole's default of n_layers is 2.
        assert sorted(cells(run.records())) == [(0.01, 2, 1), (0.1, 2, 1)]


def test_a_study_directory_and_other_formats_are_not_imported(tmp_path: Path, first: Path) -> None:
    (tmp_path / "ranking.md").write_text("| rank | number |\n| --- | --- |\n")
    (tmp_path / "some.csv").write_text("learning_rate,state,seconds\n0.1,complete,3\n")
    (tmp_path / "empty.csv").write_text("")
    for place, what, fix in (
        (first, "this is a study directory", f"Use --prior {first}."),
        (tmp_path / "ranking.md", "the format of this file is not one", "Give hyper.result, trials.csv, or"),
        (tmp_path / "some.csv", "no columns `number`, `trial_seed`, `trained_epochs`, `best_epoch`", "csv"),
        (tmp_path / "empty.csv", "there are no trials", ""),
    ):
        with (
            pytest.raises((InputError, ResultsFileError)) as caught,
            bench(tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=imported(place)),
        ):
            pass
        assert what in caught.value.what and fix in (caught.value.fix or "")


def test_a_file_without_settings_counts_only_if_it_is_trusted(tmp_path: Path, first: Path) -> None:
    alone = tmp_path / "hyper.result"
    alone.write_bytes((first / "hyper.result").read_bytes())
    with bench(tmp_path / "a", GRID, FakeTraining(quality), base=BASE, earlier=imported(alone)) as run:
        (work,) = run.plan.earlier
        assert (work.of_space, work.configurations, work.counted) == (4, 4, 0)
        assert "--trust" in earlier_lines(work)[1]
    with bench(
        tmp_path / "b", GRID, FakeTraining(quality), base=BASE, earlier=imported(alone, trust=True)
    ) as run:
        (work,) = run.plan.earlier
        assert work.counted == 4 and work.assumed
        assert "taken to be as here" in earlier_lines(work)[1]
        # One point at the last epoch, since the file has no epochs.
        assert {tuple(epoch for epoch, _ in curve) for curve in run.study.curves().values()} == {(5,)}


def test_a_study_of_optunas_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_categorical("learning_rate", [0.1, 0.01, 0.5])
        layers = trial.suggest_int("n_layers", 1, 2)
        trial.suggest_categorical("n_heads", [1])
        for step in range(5):
            trial.report(rate * (step + 1) / 5, step)
        return float(rate) + layers / 100

    for name, direction in (("up", StudyDirection.MAXIMIZE), ("down", StudyDirection.MINIMIZE)):
        study = optuna.create_study(storage=f"sqlite:///{path}", study_name=name, direction=direction)
        study.optimize(objective, n_trials=3)
    before = path.read_bytes()
    options: dict[str, Any] = {"text": GRID, "training": FakeTraining(quality), "base": BASE}
    with (
        pytest.raises(InputError, match=r"(?s)the database has several studies.*up, down"),
        bench(tmp_path / "a", earlier=imported(path), **options),
    ):
        pass
    with bench(tmp_path / "b", earlier=imported(f"sqlite:///{path}#up", trust=True), **options) as run:
        (work,) = run.plan.earlier
        outside = work.reasons.get("`learning_rate` is outside this space", 0)
        assert work.counted == 3 - outside == len(run.records()) > 0
        assert {tuple(epoch for epoch, _ in curve) for curve in run.study.curves().values()} == {
            (1, 2, 3, 4, 5)
        }
    with bench(tmp_path / "c", earlier=imported(f"{path}#down", trust=True), **options) as run:
        assert list(run.plan.earlier[0].reasons) == ["it minimizes, but the best MRR@10 is the largest"]
    assert path.read_bytes() == before


def test_test_scores_of_a_file_never_choose(tmp_path: Path) -> None:
    text = "".join(
        f"learning_rate:{rate}, n_layers:1, n_heads:1\nValid result:\nmrr@10 : {valid}\n"
        f"Test result:\nmrr@10 : {1 - valid}\n\n"
        for rate, valid in ((0.1, 0.2), (0.01, 0.3))
    )
    (tmp_path / "hyper.result").write_text(text)
    earlier = imported(tmp_path / "hyper.result", trust=True)
    with bench(tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=earlier) as run:
        assert rank(run.records(), True)[0].record.score == 0.3


# What is recorded of the settings of the study.
_IDENTITIES = {"half a character": '"\\ud800"', "no space": '{"space": {}}'}


@pytest.mark.parametrize("harm", [*SCHEMAS, "text", "empty", "cut", *_IDENTITIES, "direction"])
def test_a_hostile_or_damaged_database_is_refused(tmp_path: Path, first: Path, harm: str) -> None:
    path = tmp_path / "given.db"
    content = (first / "study.db").read_bytes()
    path.write_bytes(
        {"text": b"\0\1\2", "empty": b"", "cut": content[: len(content) // 2]}.get(harm, content)
    )
    if harm in SCHEMAS:
        with sqlite3.connect(path) as connection:
            connection.executescript(SCHEMAS[harm])
    with sqlite3.connect(path) as connection:
        if harm in _IDENTITIES:
            where = "WHERE key = 'sasrecf_tune:identity'"
            connection.execute(
                f"UPDATE study_user_attributes SET value_json = ? {where}", (_IDENTITIES[harm],)
            )
        elif harm == "direction":
            connection.execute("UPDATE study_directions SET direction = 'up'")
    with (
        pytest.raises(InputError) as caught,
        bench(tmp_path / "s", GRID, FakeTraining(quality), base=BASE, earlier=imported(path)),
    ):
        pass
    assert str(path) in str(caught.value)
    assert not (tmp_path / "s" / "study" / "study.db").exists()


def test_a_prior_is_named_like_any_study(tmp_path: Path, first: Path) -> None:
    with bench(
        tmp_path / "second", GRID, FakeTraining(quality), base=BASE, earlier=EarlierOptions([str(first)])
    ) as run:
        assert [record.imported for record in run.records()] == ["study"] * 4
        curves = run.study.curves()
    with bench(tmp_path / "first", GRID, FakeTraining(quality), "grid", trials=4, base=BASE) as run:
        assert curves == run.study.curves()
    with (
        pytest.raises(InputError, match="a study cannot be its own prior"),
        bench(tmp_path / "first", GRID, FakeTraining(quality), base=BASE, earlier=EarlierOptions(["study"])),
    ):
        pass
    (first / "manifest.json").write_text("{")
    with (
        pytest.raises(InputError, match="the manifest is damaged"),
        bench(
            tmp_path / "third", GRID, FakeTraining(quality), base=BASE, earlier=EarlierOptions([str(first)])
        ),
    ):
        pass


def test_a_prior_may_have_been_renamed(tmp_path: Path, first: Path) -> None:
    renamed = first.rename(tmp_path / "january")
    with bench(
        tmp_path / "b", GRID, FakeTraining(quality), base=BASE, earlier=EarlierOptions([str(renamed)])
    ) as run:
        assert [record.imported for record in run.records()] == ["january"] * 4


def test_the_plan_says_in_which_state_unfinished_trials_are(tmp_path: Path, first: Path) -> None:
    table = tmp_path / "trials.csv"
    header, one, two, *others = (first / "trials.csv").read_text().splitlines()
    table.write_text(
        "\n".join([header, one.replace("complete", "paused"), two.replace("complete", "failed"), *others])
    )
    with closing(sqlite3.connect(first / "study.db")) as connection, connection:
        connection.execute("UPDATE trials SET state = 'PRUNED' WHERE number = 0")
    said: list[str] = []
    for earlier in (imported(table), EarlierOptions([str(first)])):
        with bench(tmp_path / str(len(said)), GRID, FakeTraining(quality), base=BASE, earlier=earlier) as run:
            said.append(earlier_lines(run.plan.earlier[0])[0])
    assert "2 finished trials (and 2 unfinished left out: 1 failed, 1 paused), " in said[0]
    assert "3 finished trials (and 1 unfinished left out: 1 pruned), " in said[1]
