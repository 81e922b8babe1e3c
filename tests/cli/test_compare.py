"""Studies side by side: the statistics on made-up scores, the command on real studies of both models."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from scipy import stats

from sasrecf_tune.analysis.comparability import EvaluationSetup, incompatibilities
from sasrecf_tune.analysis.comparison import Comparison, Effort, Entry, compare, differences
from sasrecf_tune.analysis.report_data import Results
from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.api.study import load_study
from sasrecf_tune.cli.compare import compare_studies, read_comparison, why_unconfirmed
from sasrecf_tune.errors import InputError, StudyNotFoundError
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.report.comparison_text import budgets, sentences, show_comparison, warnings
from sasrecf_tune.report.confirmation_text import estimate_cells
from sasrecf_tune.report.formats.comparison import comparison_csv, comparison_json, comparison_latex
from sasrecf_tune.search.open_study import open_study
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.manifest import settings_from
from sasrecf_tune.trials import is_ranked
from tests.support.command_line import run_here
from tests.support.confirmations import confirmation
from tests.support.known_studies import NAME as PLANTED
from tests.support.known_studies import plant
from tests.support.recbole_alone import recbole_itself
from tests.support.tiny import TINY

MRR = parse_metric("MRR@10")
BEST = (0.0531, 0.0542, 0.0528, 0.0551, 0.0537)
CLOSE = (0.0529, 0.0538, 0.0529, 0.0547, 0.0535, 0.0541)
WORSE = (0.0402, 0.0421, 0.0409)
UNIT = 1e-4


def entry(name: str, scores: Sequence[float], **changes: Any) -> Entry:
    """Test scores are a tenth of the others; a study without scores is not confirmed."""
    made = Entry(
        name=name,
        model="SASRec",
        features=(),
        trial=3,
        params={"n_layers": 2},
        weights=1000,
        search=Effort(8, 40, 60.0),
        pruned=2,
        failed=1,
        planned=8,
        confirmation=Effort(len(scores), 5 * len(scores), 20.0),
        score=None if scores else 0.06,
        seeds=tuple(range(len(scores))),
        rivals=int(bool(scores)),
        valid={"mrr@10": scores} if scores else {},
        test={"mrr@10": [score / 10 for score in scores]} if scores else {},
        unconfirmed="" if scores else f"it is not confirmed: sasrecf-tune confirm {name}",
    )
    return replace(made, **changes)


def compared(*entries: Entry) -> Comparison:
    return compare(entries, "ml-100k: 943 users", MRR, ["mrr@10"], UNIT)


def test_two_studies_are_compared_with_welchs_t_test() -> None:
    (found,) = differences([entry("b", WORSE), entry("a", BEST)], "valid", MRR, UNIT)
    expected = stats.ttest_ind(BEST, WORSE, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (found.first.name, found.second.name) == ("a", "b")
    assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
    assert (found.mean - found.half_interval, found.mean + found.half_interval) == pytest.approx(
        (low, high), rel=1e-6
    )
    assert not found.tied


def test_several_studies_are_compared_with_the_games_howell_test() -> None:
    samples = {"a": BEST, "b": CLOSE, "c": WORSE}
    entries = [entry(name, scores) for name, scores in samples.items()]
    found = differences([*entries, entry("one seed", [0.05]), entry("none", [])], "valid", MRR, UNIT)
    assert len(found) == 3  # those with one seed or none are not tested
    for one in found:
        pair = samples[one.first.name], samples[one.second.name]
        welch = stats.ttest_ind(*pair, equal_var=False)
        assert one.mean == pytest.approx(np.mean(pair[0]) - np.mean(pair[1])) and one.mean >= 0
        p = stats.studentized_range.sf(abs(welch.statistic) * 2**0.5, 3, welch.df)
        assert one.p == pytest.approx(p, rel=1e-6) and one.p > welch.pvalue
    assert [one.tied for one in found] == [True, False, False]


def test_a_metric_to_minimize_reverses_the_order() -> None:
    metric = parse_metric("GiniIndex@10")
    scored = [
        entry(name, (), seeds=(1, 2, 3), valid={metric.key: s[:3]}) for name, s in (("a", BEST), ("c", WORSE))
    ]
    found = compare(scored, "", metric, [metric.key], UNIT)
    assert [one.name for one in found.entries] == ["c", "a"]
    assert [(one.first.name, one.second.name) for one in found.differences["valid"]] == [("c", "a")]


def test_constant_scores_within_rounding_are_tied() -> None:
    same, next_to_it = entry("a", (0.05, 0.05)), entry("b", (0.0501, 0.0501))
    assert compared(same, replace(same, name="c")).differences["valid"][0].p == 1.0
    assert compared(same, next_to_it).differences["valid"][0].tied


def test_sentences_state_the_differences() -> None:
    best, worse = entry("mine", BEST), entry("baseline", WORSE)
    lines = sentences(compared(worse, best))
    assert lines[0].startswith("On validation mine is better than baseline by 0.0127 ± ")
    assert lines[1].startswith("On test mine is better than baseline by 0.0013 ± ") and len(lines) == 2
    lines = sentences(compared(best, entry("other", CLOSE)))
    assert lines[0].startswith("On validation mine and other are tied: difference 0.0001 ± ")
    assert "at least two studies must be confirmed" in sentences(compared(best, entry("plain", ())))[0]
    assert "one seed does not show" in sentences(compared(entry("a", [0.1]), entry("b", [0.2])))[0]


def test_unequal_tuning_effort_is_a_warning() -> None:
    mine = entry("mine", BEST, search=Effort(12, 60, 9.0), planned=12, rivals=5)
    assert warnings(compared(mine, replace(mine, name="fair", search=Effort(8, 41, 9.0), planned=8))) == []
    text = "\n".join(warnings(compared(mine, entry("less", WORSE, search=Effort(4, 59, 9.0)))))
    assert "less was tuned less than mine: 4 trials against 12" in text and "epochs" not in text
    assert "the search of less is not finished: 4 of 8 trials" in text
    assert "the best of 5 confirmed configurations, that of less of 1" in text
    text = "\n".join(warnings(compared(mine, replace(mine, name="short", search=Effort(12, 20, 9.0)))))
    assert "short was tuned less than mine: 20 epochs against 60" in text
    few = entry("few", WORSE, search=Effort(1, 60, 9.0), planned=5, imported=4)
    text = "\n".join(warnings(compared(mine, few)))
    assert "few was tuned less than mine: 1 trial against 12." in text and "not finished" not in text
    assert "few has 4 imported trials, which the budget does not count" in text
    assert budgets(compared(mine, few))[1][1][2] == "1, 4 imported"
    (text,) = warnings(compared(entry("a", BEST), entry("plain", ())))
    assert text.startswith("plain has no rank: it is not confirmed: sasrecf-tune confirm plain.")


def test_paused_trials_are_part_of_a_budget() -> None:
    mine, other = entry("mine", BEST), entry("other", WORSE, paused=7)
    found = compared(mine, replace(other, over=True))
    assert not any("tuned less" in line or "not finished" in line for line in warnings(found))
    assert [row[2] for row in budgets(found)[1]] == ["8", "8"]
    assert "the search of other is not finished: 1 of 8 trials" in warnings(compared(mine, other))
    content = json.loads(comparison_json(found))["studies"][1]["search"]
    assert (content["runs"], content["paused"]) == (8, 7)


def test_unconfirmed_studies_are_not_ranked() -> None:
    found = compared(entry("plain", ()), entry("worse", WORSE), entry("best", BEST))
    assert [one.name for one in found.entries] == ["best", "worse", "plain"]
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert [row["rank"] for row in rows] == ["1", "2", ""]
    assert rows[2]["valid mrr@10"] == "" and rows[2]["search_score"] == "0.06"
    text = comparison_latex(found)
    assert "& plain &" not in text and "% warning: plain has no rank" in text
    shown = io.StringIO()
    show_comparison(found, Console(file=shown, width=100))
    assert "(0.0600)" in shown.getvalue()


@pytest.mark.parametrize("width", [50, 60, 80, 100])
def test_a_comparison_is_readable_in_a_narrow_window(width: int) -> None:
    found = compared(entry("a-name-of-20-letters", BEST), entry("worse", WORSE), entry("plain", ()))
    shown = io.StringIO()
    show_comparison(found, Console(file=shown, width=width))
    text = shown.getvalue()
    mean, interval = estimate_cells(found.entries[0].on("valid", found.metric.key), found.metric)
    assert "(0.0600)" in text and mean in text and interval in text
    # No cell is one letter below the other.
    assert sum(len(line.split()) == 1 and len(line.strip()) < 5 for line in text.splitlines()) == 0


def test_latex_marks_the_best_and_the_second() -> None:
    found = compared(entry("a_b", BEST), entry("second", CLOSE, features=("class",)), entry("c", WORSE))
    lines = comparison_latex(found).splitlines()
    (best,) = (line for line in lines if r"& a\_b &" in line)
    (second,) = (line for line in lines if "& second &" in line)
    assert r"\textbf{0.0538} $\pm$ 0.0009" in best and r"\underline{0.0537} $\pm$ 0.0007" in second
    assert r"\toprule" in lines and any("SASRec [class]" in line for line in lines)


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex here: apt install texlive-latex-base"
)
def test_latex_compiles(tmp_path: Path) -> None:
    table = comparison_latex(compared(entry("50%_a#{b}", BEST, features=("x_y",)), entry("c&d", CLOSE)))
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{table}\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


# ---- What can be compared ----

DATA = {
    "fingerprint": "abc",
    "users": 9,
    "items": 20,
    "interactions": 99,
    "valid_samples": 9,
    "test_samples": 9,
}


def measured(
    name: str, data: dict[str, Any] | None = None, metric: str = "MRR@10", **config: Any
) -> EvaluationSetup:
    return EvaluationSetup(name, metric, "ml-100k", DATA | (data or {}), config)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"n_layers": 3, "load_col": None, "MAX_ITEM_LIST_LENGTH": 5}),
        ({}, {"eval_args": {"order": "TO"}, "user_inter_num_interval": "[0,inf)"}),
        ({"eval_args": {"mode": "full"}}, {"eval_args": {"mode": {"valid": "full", "test": "full"}}}),
    ],
)
def test_settings_without_effect_on_evaluation_are_comparable(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert incompatibilities([measured("a", **one), measured("b", **other)]) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            measured("b", {"fingerprint": "def"}),
            "data: ml-100k, fingerprint abc in a; ml-100k, fingerprint def in b",
        ),
        (measured("b", metric="NDCG@10"), "metric: MRR@10 in a; NDCG@10 in b"),
        (measured("b", {"items": 1682}), "items that are ranked: 20 in a; 1,682 in b"),
        (measured("b", repeatable=False), "repeatable: True in a; False in b"),
        (
            measured("b", {"users": 5}, user_inter_num_interval="[5,inf)"),
            "user_inter_num_interval: [0,inf) in a",
        ),
        (measured("b", eval_args={"split": {"RS": [0.8, 0.1, 0.1]}}), "eval_args: "),
        (measured("b", eval_args={"mode": "uni100"}), "eval_args: "),
    ],
)
def test_evaluation_differences_are_incompatibilities(other: EvaluationSetup, message: str) -> None:
    (line,) = incompatibilities([measured("a"), other])
    assert line.startswith(message)


# ---- The command ----

ITEMS = "load_col={inter: [user_id, item_id, timestamp], item: [item_id]}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a study of each model, both confirmed, and a SASRec that ranks fewer items."""
    home = tmp_path_factory.mktemp("home")
    (home / "tiny.yaml").write_text("".join(f"{key}: {value!r}\n" for key, value in TINY.items()))
    (home / "hyper.test").write_text("learning_rate choice [0.01, 0.003]\nhidden_dropout_prob choice [0.0]\n")
    (home / "tiny.yaml").open("a").write("attn_dropout_prob: 0.0\n")
    common = ["--params-file", "hyper.test", "--config-files", "tiny.yaml", "--gpus", "none"]
    common += ["--confirm-seeds", "2", "--per-user"]
    command(home, "run", *common, "--confirm", "1")
    command(home, "run", *common, "--model", "SASRec", "--set", ITEMS, "--confirm", "2")
    return home


def command(home: Path, *arguments: str, code: int = 0) -> str:
    """What it printed on the screen, or where it fails on standard error."""
    done = run_here(*arguments, cwd=home)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


MINE, BASELINE = "ml-100k-hyper", "ml-100k-SASRec-hyper"


def test_a_sasrec_baseline_is_recorded_like_any_study(home: Path) -> None:
    directory = home / "tuning" / BASELINE
    text = (directory / "best.yaml").read_text()
    assert text.startswith("# SASRec, trial ")
    config = yaml.safe_load(text)
    assert config["model"] == "SASRec" and "selected_features" not in config
    manifest = read_manifest_of(directory)
    assert manifest["model"] == manifest["identity"]["model"] == "SASRec"
    assert read_manifest_of(home / "tuning" / MINE)["identity"]["model"] == "SASRecF"
    # Without dropout the engines differ by rounding alone, so RecBole itself gives what was recorded.
    ((direct, _, _),) = recbole_itself(home, [{"config_file_list": [str(directory / "best.yaml")]}])
    (row,) = (
        one for one in read_comparison([MINE, BASELINE], home / "tuning").entries if one.name == BASELINE
    )
    assert direct == pytest.approx(max(row.values("valid", "mrr@10")), abs=1.01e-4)


def read_manifest_of(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return loaded


def test_compare_shows_the_confirmed_scores_of_both_studies(home: Path) -> None:
    code = (
        f"sys.argv = ['', 'compare', {MINE!r}, {BASELINE!r}]; from sasrecf_tune.cli.app import main; main()"
    )
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    print('torch' in sys.modules)"
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=home, capture_output=True, text=True, env=environment
    )
    shown = done.stdout
    assert shown.endswith("False\n"), done.stderr  # a coordinator's command: nothing is trained
    assert "2 studies on ml-100k: 100 users, 1,682 items, 2,133 interactions; by mean MRR@10" in shown
    assert "SASRecF [class]" in shown and "is the best of 2 confirmed configurations" in shown
    found = json.loads(
        command(home, "compare", f"tuning/{MINE}", f"{home}/tuning/{BASELINE}/", "--format", "json")
    )
    by_model = {one["model"]: one for one in found["studies"]}
    for name, model in ((MINE, "SASRecF"), (BASELINE, "SASRec")):
        rows = list(csv.DictReader((home / "tuning" / name / "confirmation.csv").open()))
        trial = str(by_model[model]["trial"])
        for part in ("valid", "test"):
            recorded = [float(row[f"{part} mrr@10"]) for row in rows if row["trial"] == trial]
            assert by_model[model][part]["mrr@10"]["scores"] == recorded and len(recorded) == 2
        assert by_model[model]["search"]["epochs"] == 4
        assert by_model[model]["confirmation"]["runs"] == len(rows)
    assert by_model["SASRec"]["weights"] < by_model["SASRecF"]["weights"]
    assert {one["better"] for one in found["differences"]["test"]} <= {MINE, BASELINE}
    # Users are tested beside the seeds, on the same scores.
    assert shown.index("other seeds?") < shown.index("other users like these?") < shown.index("history")
    for part in ("valid", "test"):
        (users,) = found["user_differences"][part]
        first, second = (
            by_model["SASRecF" if users[name] == MINE else "SASRec"][part]["mrr@10"]["mean"]
            for name in ("first", "second")
        )
        assert users["users"] == 100 and users["difference"] == pytest.approx(first - second, abs=1e-4)
    assert sum(one["users"] for one in found["user_groups"] if one["group"] == "history") == 100


def test_the_mean_over_users_is_the_recorded_metric(home: Path) -> None:
    for name in (MINE, BASELINE):
        directory = home / "tuning" / name
        rows = list(csv.DictReader((directory / "confirmation.csv").open()))
        assert len(list((directory / "per-user").iterdir())) == 2 * len(rows)
        for row in rows:
            for part in ("valid", "test"):
                table = pd.read_csv(directory / "per-user" / f"confirm-{int(row['run']):04}.{part}.csv")
                for key in table.columns[5:]:
                    assert round(table[key].mean(), 4) == float(row[f"{part} {key}"])
    command(home, "report", MINE, "--per-user", "users.parquet")
    users = pd.read_parquet(home / "users.parquet")
    assert len(users) == 2 * 2 * 100 and list(users.columns[:5]) == ["trial", "seed", "part", "user", "item"]
    assert load_study(home / "tuning" / MINE).users_dataframe().shape == users.shape
    assert "median rank" in command(home, "report", MINE)
    assert len(json.loads(command(home, "report", MINE, "--format", "json"))["users"]["test"]["groups"]) > 4


def test_scores_of_users_that_are_not_of_the_run_are_not_used(home: Path, tmp_path: Path) -> None:
    for name in (MINE, BASELINE):
        shutil.copytree(home / "tuning" / name, tmp_path / "tuning" / name)
    mine = sorted((tmp_path / "tuning" / MINE / "per-user").iterdir())
    same, first = mine[0], mine[0].read_text()
    reproduced = [path for path in mine if path.name.startswith(mine[0].name[:12])]
    mine[0].write_text(first.replace(",0.0", ",0.9"))
    mine[1].write_bytes(b"\x80\x04user")
    told = command(tmp_path, "compare", MINE, BASELINE)
    assert f"{mine[0].name} is not used: it does not have the mean" in told
    assert f"{mine[1].name} is not used: cannot be read: it is not a table" in told
    for path in mine:
        path.write_text("")
    told = command(tmp_path, "compare", MINE, BASELINE)
    assert "Users (brackets)" not in told and "has no scores of users to pair" in told
    assert "is not used" in command(tmp_path, "report", MINE)
    assert "cannot be read" in command(tmp_path, "report", MINE, "--per-user", "users.csv", code=1)
    assert not (tmp_path / "users.csv").exists()
    # The run of best.yaml can be given its scores again.
    told = command(tmp_path, "reproduce", MINE, "--per-user", "--gpus", "none")
    assert "metrics of each user: tuning/" in told
    written = [path for path in mine if path.read_text()]
    assert [path.name.rpartition("-")[2].partition(".")[2] for path in written] == ["test.csv", "valid.csv"]
    assert "1 run of" in command(tmp_path, "compare", MINE, BASELINE)
    if same in written:
        assert same.read_text() == first and reproduced == written


def test_every_format_can_be_written(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies = [str(home / "tuning" / name) for name in (MINE, BASELINE)]
    (tmp_path / "made").mkdir()
    for form in ("table", "csv", "json", "markdown", "latex"):
        compare_studies(studies, tmp_path, None, form, tmp_path / "made" / form)
    assert "warning: " in capsys.readouterr().err  # which CSV has no place for
    rows = list(csv.DictReader((tmp_path / "made" / "csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2"] and {row["features"] for row in rows} == {"class", ""}
    assert json.loads((tmp_path / "made" / "json").read_text())["metric"] == "MRR@10"
    for form in ("table", "markdown"):
        assert "On validation" in (tmp_path / "made" / form).read_text()
    for form in ("table", "json", "markdown", "latex"):
        text = (tmp_path / "made" / form).read_text()
        assert "trained again with other seeds?" in text and "other users like these?" in text


def test_studies_with_different_data_are_rejected(home: Path, tmp_path: Path) -> None:
    mine = home / "tuning" / MINE
    plant(tmp_path, 8)
    refused = command(home, "compare", MINE, str(tmp_path / PLANTED), code=2)
    assert "error: these studies are not comparable" in refused and "fingerprint abc in planted" in refused
    # RecBole's default for SASRec: the file of items is not read, so fewer are ranked.
    copied = tmp_path / "elsewhere" / BASELINE
    shutil.copytree(home / "tuning" / BASELINE, copied)
    change(copied, lambda manifest: manifest["data"].update(items=480))
    with pytest.raises(
        InputError, match="items that are ranked: 1,682 in ml-100k-hyper; 480 in ml"
    ) as caught:
        read_comparison([str(mine), str(copied)], tmp_path)
    assert "load_col" in caught.value.fix


def change(directory: Path, how: Callable[[dict[str, Any]], object]) -> None:
    manifest = read_manifest_of(directory)
    how(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_unconfirmed_studies_of_the_same_name_are_told_apart_by_directory(tmp_path: Path) -> None:
    for place, seed in (("one", 0), ("two", 1)):
        (tmp_path / place).mkdir()
        plant(tmp_path / place, 8, seed)
    studies = [str(tmp_path / place / PLANTED) for place in ("one", "two")]
    found = read_comparison(studies, tmp_path)
    assert {Path(one.name).parent.name for one in found.entries} == {"one", "two"}
    assert not any(one.confirmed for one in found.entries) and len(warnings(found)) == 2
    content = json.loads(comparison_json(found))
    assert content["differences"] == {"valid": [], "test": []} and "test" in content["studies"][0]


def test_a_search_that_ended_by_itself_is_finished(tmp_path: Path) -> None:
    for name, regret in (("over", 0.4), ("stopped", 1.6)):
        study_dir = plant(tmp_path / name, 8)
        content = json.loads(study_dir.manifest.read_text())
        study_dir.manifest.write_text(json.dumps(content | {"planned_trials": 20}))
        _, space = settings_from(study_dir)
        storage = open_storage(study_dir, None)
        study = open_study(study_dir, storage, space, {"metric": "MRR@10"}, True)
        completed = sum(map(is_ranked, study.records()))
        study.record_summary(SearchSummary({}, completed, regret, 0.001, None, 0.1))
        storage.engine.dispose()
    found = read_comparison([str(tmp_path / name / PLANTED) for name in ("over", "stopped")], tmp_path)
    lines = [line for line in warnings(found) if "is not finished" in line]
    assert len(lines) == 1 and "stopped" in lines[0] and lines[0].endswith(": 8 of 20 trials")
    trials = {row[0]: row[2] for row in budgets(found)[1]}
    assert sorted(trials.values()) == ["8", "8 of 20"]


def test_a_confirmation_without_a_common_seed_advises_more_seeds(tmp_path: Path) -> None:
    study_dir = plant(tmp_path, 8)
    settings, _ = settings_from(study_dir)
    whole = confirmation([[0.05, None], [None, 0.04]])
    why = why_unconfirmed(
        Results([], complete_confirmation=whole, latest_confirmation=whole), study_dir, settings
    )
    assert "no seed on which all runs completed" in why and why.endswith("--seeds 4")
    assert "found a better trial" in why_unconfirmed(
        Results([], complete_confirmation=confirmation([[0.05, 0.04]])), study_dir, settings
    )


def test_invalid_study_arguments_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, 8)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="requires at least two studies"):
        read_comparison([PLANTED], tmp_path)
    with pytest.raises(InputError, match="given twice: planted"):
        read_comparison([PLANTED, f"./{PLANTED}"], tmp_path)
    with pytest.raises(StudyNotFoundError, match="no study named 'other'") as caught:
        read_comparison([PLANTED, "other"], tmp_path)
    assert "Studies there: planted" in caught.value.fix
    with pytest.raises(StudyNotFoundError, match="not a study directory"):
        read_comparison([PLANTED, "./nowhere"], tmp_path)
    # Where there is none of that name below --out, a directory of that name will do.
    with pytest.raises(InputError, match="requires at least two studies"):
        read_comparison([PLANTED], tmp_path / "tuning")


def test_many_studies_are_not_compared_line_by_line() -> None:
    many = [entry(f"study-{number}", BEST) for number in range(40)]
    found = compare(many, "data", MRR, ["mrr@10"], UNIT)
    lines = sentences(found)
    assert len(lines) < 100 and "... and 735 more pairs on validation: --format json has all." in lines
    assert len(json.loads(comparison_json(found))["differences"]["valid"]) == 780


def test_differing_settings_of_many_studies_are_a_short_message() -> None:
    setups = [EvaluationSetup(f"study-{n}", "MRR@10", f"data-{n}", {}, {}) for n in range(1000)]
    assert max(map(len, incompatibilities(setups))) < 2000
