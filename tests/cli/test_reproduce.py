"""Confirm, reproduce and fit from the command line, on the real RecBole, in real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import yaml
from rich.console import Console

import sasrecf_tune as st
from sasrecf_tune.analysis.reproduction import MetricPair, environment_changes
from sasrecf_tune.cli.deletion import delete
from sasrecf_tune.cli.fit import fit_study
from sasrecf_tune.cli.reproduce import reproduce_study
from sasrecf_tune.cli.study_commands import best_config, report_study
from sasrecf_tune.errors import DataError, InputError
from sasrecf_tune.search.trial_attributes import CURVE
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest, record_confirmation, write_manifest
from sasrecf_tune.storage.model_directory import ModelDirectory
from sasrecf_tune.trials import State
from tests.support import synthetic_data
from tests.support.command_line import Cli, Running, assert_gone

OPTIONS = ("--dataset", synthetic_data.NAME, "--data-path", "data", "--config-files", "base.yaml")
SEARCH = ("run", "--params-file", "hyper.test", *OPTIONS, "--sampler", "grid", "--pruner", "none")
CONFIRM = ("--confirm", "2", "--confirm-seeds", "2")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the command line runs: a params file, settings, and a data set."""
    space = "learning_rate choice [0.01, 0.003]\n"
    return synthetic_data.write_inputs(tmp_path, space, epochs=3, hidden_dropout_prob=0.5)


def runs(study: Path) -> list[tuple[object, ...]]:
    """What each run of a confirmation came to."""
    found = optuna.load_study(
        study_name=f"{study.name} confirmation", storage=f"sqlite:///{study}/study.db"
    ).trials
    keys = ("valid", "test", "epochs", "best_epoch", "seed")
    return [
        (
            trial.params,
            trial.value,
            trial.intermediate_values,
            trial.system_attrs[CURVE],
            *(trial.user_attrs[key] for key in keys),
        )
        for trial in found
    ]


def test_an_interrupted_confirmation_has_the_results_of_an_uninterrupted_one(
    directory: Path, cli: Cli
) -> None:
    # Long enough to be met in the middle.
    search = (*SEARCH, "--set", "epochs=20", "--set", "stopping_step=20", *CONFIRM)
    whole = cli(*search, "--study", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "then    the best 2 again on 2 fresh seeds each" in whole.stdout
    assert "Confirmation of 2 configurations on 2 fresh seeds (2021 to 2022)" in whole.stdout

    cut = directory / "tuning" / "cut"
    run = Running(directory, *search, "--study", "cut")
    run.until("confirmation")
    run.until("reported", run=1, epoch=3)
    workers = run.children()
    run.process.kill()
    run.process.communicate()
    for pid in workers:
        assert_gone(pid)
    run = Running(directory, *search, "--study", "cut")
    assert 1 <= run.until("confirmation")["done"] < 3
    run.until("reported", run=2, epoch=3)
    run.process.send_signal(signal.SIGINT)
    code, events = run.finish()
    assert code == 130 and events[-1]["event"] == "confirmed" and not events[-1]["complete"]
    done = cli("confirm", "cut")
    assert done.returncode == 0, done.stderr
    assert "of 4 runs are done" in done.stdout
    assert runs(cut) == runs(directory / "tuning" / "whole")
    one, other = ((directory / "tuning" / name / "best.yaml").read_text() for name in ("cut", "whole"))
    assert yaml.safe_load(one) == yaml.safe_load(other) and "confirmed on" in one


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a study, confirmed by another process."""
    path = tmp_path_factory.mktemp("confirmed")
    directory.__wrapped__(path)  # type: ignore[attr-defined]
    run = Running(path, *SEARCH, *CONFIRM)
    code, _ = run.finish()
    assert code == 0
    yield path


STUDY = f"{synthetic_data.NAME}-hyper"


@pytest.fixture
def study(confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDirectory:
    """A copy of that study; the current directory is where it lies."""
    shutil.copytree(confirmed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return StudyDirectory(tmp_path / "tuning" / STUDY)


def test_report_shows_the_confirmation_and_no_other_test_metrics(
    study: StudyDirectory, confirmed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(form: str, show_test: bool = False) -> tuple[str, str]:
        report_study(Path("tuning"), None, None, 20, form, None, show_test)
        return capsys.readouterr()

    out, err = shown("table")
    assert "Confirmation of 2 configurations" in out and "test MRR@10" in out and err == ""
    assert "on the test set" not in out
    content = json.loads(shown("json")[0])
    assert content["confirmation"]["seeds"] == [2021, 2022]
    assert all("test" not in trial for trial in content["trials"])
    assert "test" not in shown("csv")[0].partition("\n")[0]
    assert "\nConfirmation of 2 configurations" in shown("markdown")[0]

    for form in ("table", "json", "csv", "markdown"):
        out, err = shown(form, show_test=True)
        assert "choosing by test metrics selects on the test set" in err
        assert "test" in out
    assert "on the test set" in shown("table", show_test=True)[0]
    trials = json.loads(shown("json", show_test=True)[0])["trials"]
    assert all(trial["test"]["mrr@10"] >= 0 for trial in trials)
    header, *lines = shown("csv", show_test=True)[0].splitlines()
    assert header.endswith("test gauc") and len({line.count(",") for line in [header, *lines]}) == 1

    best_config(Path("tuning"), None, None, None)
    printed = capsys.readouterr().out
    here = study.best.read_text().replace(str(confirmed), str(Path.cwd()))  # where the data lies
    assert printed == here and "confirmed on 2 fresh seeds" in printed


def reproduce(study: StudyDirectory, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = reproduce_study(study, Console(width=100))
    return code, capsys.readouterr().out


def test_reproduce_finds_identical_metrics_and_changes_no_file(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in study.directory.rglob("*") if path.is_file()}
    code, out = reproduce(study, capsys)
    assert code == 0, out
    assert "All metrics are identical." in out and "test mrr@10" in out and "valid gauc" in out
    assert {path: path.read_bytes() for path in study.directory.rglob("*") if path.is_file()} == before


def test_a_paused_trial_that_wins_the_confirmation_is_reproduced_and_fitted(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(directory)
    settings = yaml.safe_load((directory / "base.yaml").read_text())
    found = st.tune(
        {"learning_rate": [0.01, 0.003, 0.001]},
        study="ended",
        dataset=synthetic_data.NAME,
        data_path="data",
        config=settings,
        until=9.0,  # it ends when one trial is complete
        workers=1,
        progress=False,
    )
    paused = {trial.number for trial in found.trials if trial.state == State.PAUSED}
    assert paused and found.best.number not in paused
    confirmation = found.confirm(top=3, seeds=2, per_user=True, progress=False)
    assert set(confirmation.trials) == {0, 1, 2}
    ended = confirmation.runs_dataframe()
    assert set(ended["state"]) == {"complete"} and set(ended["trained_epochs"]) == {3}
    # Whichever is the best on this data: let it be a paused one.
    study = StudyDirectory(found.path)
    rates = [trial.params["learning_rate"] for trial in found.trials if trial.number not in paused]
    with closing(sqlite3.connect(study.database)) as connection, connection:
        loaded = optuna.load_study(study_name="ended confirmation", storage=f"sqlite:///{study.database}")
        for trial in loaded.trials:
            if trial.params["learning_rate"] in rates:
                connection.execute("UPDATE trial_values SET value = -1 WHERE trial_id = ?", [trial._trial_id])

    found.reload()
    best = found.best
    assert best.number in paused and best.confirmed and best.seed in confirmation.seeds
    assert f"Confirmed: trial {best.number} with" in found.report_html().read_text()
    users = found.users_dataframe()
    assert best.seed in set(users[users["trial"] == best.number]["seed"])
    capsys.readouterr()
    code, out = reproduce(study, capsys)
    assert code == 0 and f"confirmed trial {best.number}, seed {best.seed}" in out
    assert "All metrics are identical." in out
    model = found.fit(progress=False)
    assert len(model.recommend(top=1))
    assert ModelDirectory(study.model).read_manifest().origin.trial == best.number


def test_reproduce_reports_the_differences(study: StudyDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(study.database)) as connection, connection:
        changed = connection.execute(
            "UPDATE trial_user_attributes SET value_json = json_set(value_json, '$.\"mrr@10\"', 0.5) "
            "WHERE key = 'test' AND trial_id > 2"
        )
        assert changed.rowcount == 4
        device = "UPDATE trial_user_attributes SET value_json = '\"NVIDIA T4\"' WHERE key = 'device'"
        assert connection.execute(device).rowcount
    manifest = read_manifest(study)
    manifest["confirmation"]["versions"]["torch"] = "1.0"
    manifest["confirmation"]["machine"]["model"] = "another processor"
    study.manifest.write_text(json.dumps(manifest))
    code, out = reproduce(study, capsys)
    assert code == 1
    (line,) = (line for line in out.splitlines() if line.startswith("test mrr@10"))
    recorded, now, difference = map(float, line.split()[2:])
    assert recorded == 0.5 and difference == pytest.approx(now - recorded)
    assert "1 of " in out and "numbers differ" in out
    assert "device: was NVIDIA T4, is cpu\n" in out and "Dropout draws other random numbers" in out
    assert "torch: was 1.0, is " in out and "model: was another processor, is " in out


def test_reproduce_rejects_changed_data(study: StudyDirectory) -> None:
    interactions = Path("data") / synthetic_data.NAME / f"{synthetic_data.NAME}.inter"
    lines = interactions.read_text()
    interactions.write_text(lines + "u0\ti1\t99\n")
    with pytest.raises(DataError, match="differs from that of the study") as caught:
        reproduce_study(study, Console())
    assert caught.value.exit_code == 2


def test_rewriting_the_manifest_keeps_the_confirmation(study: StudyDirectory) -> None:
    before = read_manifest(study)
    before["versions"]["torch"] = before["confirmation"]["versions"]["torch"] = "1.0"
    study.manifest.write_text(json.dumps(before))
    write_manifest(study, {})
    after = read_manifest(study)
    assert after["confirmation"] == before["confirmation"] and after["versions"]["torch"] != "1.0"
    record_confirmation(study, {"top": 2}, trains=True)
    assert read_manifest(study)["confirmation"]["versions"]["torch"] != "1.0"


def test_a_run_that_trains_nothing_keeps_the_recorded_versions(study: StudyDirectory) -> None:
    before = read_manifest(study)
    before["versions"]["torch"] = before["confirmation"]["versions"]["torch"] = "1.0"
    study.manifest.write_text(json.dumps(before))
    write_manifest(study, {}, trains=False)
    record_confirmation(study, {"top": 1}, trains=False)
    after = read_manifest(study)
    assert after["versions"]["torch"] == after["confirmation"]["versions"]["torch"] == "1.0"
    assert after["confirmation"]["top"] == 1


def test_metric_pairs_and_version_changes() -> None:
    nan = float("nan")
    assert (
        MetricPair("x", nan, nan).same and MetricPair("x", 0.1, 0.1).same and MetricPair("x", None, None).same
    )
    assert not MetricPair("x", None, 0.1).same and not MetricPair("x", 0.1, nan).same
    assert MetricPair("x", 0.5, 0.25).difference == -0.25
    was = {"versions": {"torch": "2.0", "numpy": "1.0"}, "threads": 2}
    now = {"versions": {"torch": "2.1", "numpy": "1.0"}, "threads": 2, "device": "cpu"}
    assert environment_changes(was, now) == {"torch": ("2.0", "2.1")}


def test_fit_writes_a_model_and_a_killed_one_leaves_the_old(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit_study(study, Console(), on="train") == 0
    shown = capsys.readouterr().out
    assert "with early stopping on the validation part" in shown and "wrote tuning/" in shown
    made = ModelDirectory(study.model)
    old = made.read_manifest()
    seed = old.training.seed
    [recorded] = [trial for trial in runs(study.directory) if trial[-1] == seed and old.valid == trial[4]]
    assert (old.valid, old.test) == (recorded[4], recorded[5])
    assert old.origin.seeds == (2021, 2022) and "2 fresh seeds (2021 to 2022)" in made.card.read_text()
    before = {path.name: path.read_bytes() for path in made.directory.iterdir()}
    assert before.keys() == {path.name for path in made.files}

    run = Running(Path.cwd(), "fit", study.name)
    run.until("reported", epoch=1)
    workers = run.children()
    run.process.kill()
    run.process.communicate()
    for pid in workers:
        assert_gone(pid)
    assert {path.name: path.read_bytes() for path in made.directory.iterdir()} == before
    assert list(study.directory.glob(".model.*"))

    code, events = Running(Path.cwd(), "fit", study.name, "--seed", "7", "--seeds", "2").finish()
    assert code == 0 and not list(study.directory.glob(".model.*"))
    [fitted] = [event for event in events if event["event"] == "fitted"]
    new = made.read_manifest()
    assert fitted["on"] == new.training.on == "train+valid" and not new.valid and fitted["test"] == new.test
    assert new.training.seed == 7 and len(new.training.best_epochs) == 2
    assert [each.seed for each in new.members] == [each["seed"] for each in fitted["members"]] == [7, 8]
    assert made.weights_of(2)[1].is_file() and "7, 8: the mean score of 2 models" in made.card.read_text()
    assert new.training.epochs == min(new.training.best_epochs)  # the lower median
    delete(study, None)
    assert not study.model.exists()


def test_a_killed_ensemble_leaves_the_old_model_or_the_complete_new_one(study: StudyDirectory) -> None:
    assert fit_study(study, Console(), on="all", seed=1) == 0
    made = ModelDirectory(study.model)
    old, epochs = made.read_manifest(), made.read_manifest().training.epochs
    for kill_worker, second in ((False, False), (False, True), (True, True)):
        run = Running(Path.cwd(), "fit", study.name, "--seeds", "3", "--on", "all")
        run.until("reported", epoch=epochs)
        if second:  # else between the models
            run.until("reported", epoch=1)
        workers = run.children()
        if kill_worker:
            os.kill(workers[0], signal.SIGKILL)
        else:
            run.process.kill()
        run.process.communicate()
        for pid in workers:
            assert_gone(pid)
        st.load_model(study.model)
        assert made.read_manifest() == old or len(made.read_manifest().members) == 3
        assert {path.name for path in study.model.iterdir()} >= {path.name for path in made.files}


def test_fit_trains_the_winner_on_new_data(
    study: StudyDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_data.write_data_set(tmp_path, users=20, seed=5)
    made = (tmp_path / synthetic_data.NAME).rename(tmp_path / "march")
    for path in list(made.iterdir()):
        text = path.read_text().replace("\nu", "\nnew")
        path.unlink()
        (made / f"march{path.suffix}").write_text(text)
    assert fit_study(study, Console(width=1000), dataset="march", data_path=made) == 0
    shown = capsys.readouterr().out
    (recorded, model) = read_manifest(study)["data"]["fingerprint"], ModelDirectory(study.model)
    new = model.read_manifest()
    assert new.fingerprint != recorded and new.dataset == "march"
    assert (new.origin.dataset, new.origin.fingerprint) == (synthetic_data.NAME, recorded)
    assert f"march (fingerprint {new.fingerprint}), not {synthetic_data.NAME} ({recorded})" in shown
    assert "the number of epochs are the study's" in shown
    card = model.card.read_text()
    assert new.fingerprint in card and recorded in card and "they say nothing of this one" in card
    assert "on validation |" not in card and "found on the study's data" in card
    assert model.read_ids(new.counts).users[1].startswith("new") and new.counts.users <= 20
    known = st.load_model(study.model).recommend(top=1)
    assert known["user"].str.startswith("new").all()

    # So are several models; with a validation part, both parts of the new data measure them together.
    several = ModelDirectory(tmp_path / "several")
    fit_study(
        study, Console(), on="train", seeds=2, dataset="march", data_path=made, output=several.directory
    )
    both = several.read_manifest()
    assert (both.fingerprint, both.dataset, both.origin.dataset) == (
        new.fingerprint,
        "march",
        synthetic_data.NAME,
    )
    assert both.counts == new.counts and len(both.members) == 2 and both.valid and both.test
    assert both.members[0].valid.keys() == both.valid.keys() == both.members[1].valid.keys()
    averaged = st.load_model(several.directory).recommend(top=1)
    assert averaged["user"].str.startswith("new").all() and len(averaged) == len(known)

    # Files that have changed in their place were not named.
    interactions = Path("data") / synthetic_data.NAME / f"{synthetic_data.NAME}.inter"
    interactions.write_text(interactions.read_text() + "u0\ti1\t99\n")
    with pytest.raises(DataError, match="differs from that of the study") as caught:
        fit_study(study, Console())
    assert "To train on this one, name its directory there" in caught.value.fix


def test_fit_replaces_nothing_but_a_model(study: StudyDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name, said in (
        ("mine", "other files than those of a model, such as thesis.tex"),
        ("file", "not a directory"),
        ("link", "not a directory"),
        ("none/model", "there is no directory"),
    ):
        with pytest.raises(InputError, match=said):
            fit_study(study, Console(), output=tmp_path / name)
    assert (tmp_path / "mine" / "thesis.tex").exists()
