"""The report in each of its formats, read by what reads such a format."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.validation import check_space
from sasrecf_tune.report.formats.latex import latex, ranking_latex
from sasrecf_tune.report.formats.trials import ranking_markdown
from sasrecf_tune.report.page.render import render_page
from sasrecf_tune.report.row_selection import pick
from sasrecf_tune.report.terminal.ranking import show_report
from sasrecf_tune.report.terminal.tables import shared_sparklines
from sasrecf_tune.report.text import markdown_table
from sasrecf_tune.trials import Row, State, TrialRecord, rank
from tests.support.known_studies import METRICS, NAME, NASTY, known_report_data, plant
from tests.support.loaded_modules import loaded_after


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("studies")
    plant(directory, 40)
    return directory


def report(out: Path, *arguments: str, columns: int = 200) -> Result:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["report", "--out", str(out), *arguments], env=environment)


def refused(out: Path, *arguments: str) -> InputError:
    result = report(out, *arguments)
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    return result.exception


def test_filters_and_order_are_the_same_in_every_format(out: Path) -> None:
    asked = ["--filter", "n_layers=2", "--filter", "state=complete", "--sort", "-seconds", "--top", "0"]
    found = list(csv.DictReader(io.StringIO(report(out, *asked, "--format", "csv").stdout)))
    assert len(found) > 3
    assert {row["n_layers"] for row in found} == {"2"} and {row["state"] for row in found} == {State.COMPLETE}
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds, reverse=True)
    numbers = [int(row["number"]) for row in found]
    shown = json.loads(report(out, *asked, "--format", "json").stdout)
    assert [trial["number"] for trial in shown["trials"]] == numbers and shown["ended"] == 40
    markdown = report(out, *asked, "--format", "markdown").stdout.splitlines()[2:]
    assert [int(line.split("|")[3]) for line in markdown] == numbers
    ranks = [row["rank"] for row in found]
    tex = re.findall(r"^(\d+) & .* \\\\$", report(out, *asked, "--format", "latex").stdout, re.MULTILINE)
    assert tex == ranks
    table = report(out, *asked).stdout
    assert re.findall(r"^ *(\d+)  0\.\d{4} +\d+  complete", table, re.MULTILINE) == ranks


def test_two_filters_of_one_name_match_either_value(out: Path) -> None:
    asked = ["--filter", "n_layers=1", "--filter", "n_layers=3", "--top", "0", "--format", "csv"]
    found = csv.DictReader(io.StringIO(report(out, *asked).stdout))
    assert {row["n_layers"] for row in found} == {"1", "3"}


def test_filter_value_matches_any_spelling() -> None:
    values: list[Any] = [0.001, 1, True, "gelu", ["class", "year"], None]
    rows = [Row(None, TrialRecord(i, State.PRUNED, {"x": value})) for i, value in enumerate(values)]
    written = ["1e-3", "1.0", "True", "gelu", "[class, year]", "None"]
    for number, text in enumerate(written):
        assert [row.record.number for row in pick(rows, ["x"], [f"x={text}"], None)] == [number]


def test_trials_without_the_value_are_sorted_last_both_ways() -> None:
    params: list[dict[str, Any]] = [{"x": 2}, {}, {"x": "b"}, {"x": 10}]
    rows = [Row(None, TrialRecord(i, State.PRUNED, value)) for i, value in enumerate(params)]
    assert [row.record.number for row in pick(rows, ["x"], [], "x")] == [0, 3, 2, 1]
    assert [row.record.number for row in pick(rows, ["x"], [], "-x")] == [2, 3, 0, 1]
    assert [row.record.number for row in pick(rows, ["x"], [], "-score")] == [3, 2, 1, 0]


def test_unknown_names_and_values_are_refused_with_the_known_ones(out: Path) -> None:
    assert "did you mean `n_layers`" in str(refused(out, "--filter", "nlayers=2"))
    assert "Its values: 1, 2, 3." in str(refused(out, "--filter", "n_layers=7"))
    assert "40 values" in str(refused(out, "--filter", "learning_rate=1"))
    assert "NAME=VALUE" in str(refused(out, "--filter", "n_layers"))
    assert "did you mean `seconds`" in str(refused(out, "--sort", "second"))
    assert "the page has both" in str(refused(out, "--format", "html", "--sort", "seconds"))


def test_table_has_curves_importance_and_main_effects(out: Path) -> None:
    text = report(out).stdout
    header, first = text.splitlines()[1:3]
    assert header.split()[-1] == "curve" and set(first.split()[-1]) <= set("▁▂▃▄▅▆▇█")
    assert re.search(r"^learning_rate +█+ +\d+%$", text, re.MULTILINE)
    assert "99% intervals" in text and " beats " in text and "effect not known: " in text


def test_a_best_value_on_a_bound_is_shown_with_the_line_to_search_beyond_it(out: Path) -> None:
    (one,) = json.loads(report(out, "--format", "json").stdout)["at_bounds"]
    known = known_report_data(40)
    (name,) = [found.name for found in known.at_bounds]
    assert (one["name"], one["bound"]) == (name, known.at_bounds[0].bound)
    text = report(out).stdout
    assert f"\n  {one['line']}\n" in text and "The best lies on a bound of the search space" in text
    page = render_page(known)
    assert f"<pre>{escape(one['line'])}" in page
    (wider,) = parse(one["line"])
    check_space(SearchSpace((wider,)))
    assert wider != known.space[name]


def test_scores_have_the_decimals_that_recbole_rounds_to(tmp_path: Path) -> None:
    data = known_report_data(40)
    records = [replace(r, score=r.score and r.score + 3e-6) for r in data.records]
    fine = replace(data, metric=replace(data.metric, decimals=6), records=records)
    best = fine.metric.text(fine.ranked[0].score)
    assert re.fullmatch(r"0\.\d{6}", best)
    screen = io.StringIO()
    show_report(fine, fine.rows, fine.rows[:3], Console(file=screen, width=200))
    text = screen.getvalue()
    assert best in text and not re.search(r"(?<![\d.])0\.\d{4}(?!\d)", text.partition("effects of")[2])
    assert best in ranking_markdown(fine.rows, [], fine.metric)
    page = render_page(fine)
    section = page.partition('<section id="marginals">')[2].partition("</section>")[0]
    assert section and not re.search(r">-?0\.\d{4}<|± 0\.\d{4}\b", section) and best in page


def test_table_fits_80_columns(out: Path) -> None:
    text = report(out, "--top", "5", columns=80).stdout
    lines = [line.rstrip() for line in text.partition("trial 13 failed")[0].splitlines()]
    assert max(map(len, lines)) <= 80
    assert sum(set(line.split()[-1]) <= set("▁▂▃▄▅▆▇█") for line in lines if "complete" in line) == 5


def test_sparklines_share_a_scale() -> None:
    curves = {3: [(1, 0.0), (2, 0.1)], 4: [(1, 0.0), (2, 0.2), (4, 0.7)], 5: []}
    low, high, nothing = shared_sparklines(curves, [3, 4, 5])
    assert low == "▁▂" and high == "▁▃ █" and nothing == ""
    assert shared_sparklines(curves, [3]) == [low]
    assert shared_sparklines({1: [], 2: []}, [1, 2]) == []
    assert shared_sparklines({1: [(1, float("nan"))]}, [1]) == []


def test_report_of_a_study_with_one_trial_or_none(tmp_path: Path) -> None:
    plant(tmp_path, 1)
    text = report(tmp_path).stdout
    assert "parameter importance needs at least 10 completed trials" in text
    none = replace(known_report_data(1), records=[], curves={})
    assert "No trial has completed yet." in render_page(none)


def test_latex_compiles(out: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here: apt install texlive-latex-base texlive-latex-recommended")
    table = report(out, "--format", "latex", "--output", str(tmp_path / "table.tex"))
    assert table.exit_code == 0
    (tmp_path / "special.txt").write_text(latex(NASTY.replace("é", "")))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        "\\input{table.tex}\n\\input{special.txt}\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_marks_best_and_second_of_each_metric() -> None:
    scores = [(0.3, 0.9), (0.2, 0.5), (0.2, 0.8), (0.1, 0.8)]
    records = [
        TrialRecord(i, State.COMPLETE, {"a_b": 1}, score=s, valid={"mrr@10": s, "giniindex@10": g})
        for i, (s, g) in enumerate(scores)
    ]
    rows = rank([*records, TrialRecord(9, State.FAILED, {})], True)
    text = ranking_latex(
        rows, ["a_b"], ["giniindex@10", "mrr@10"], parse_metric("MRR@10"), "s_1", "SASRec", "ml-100k"
    )
    assert r"rank & a\_b & MRR@10 & GiniIndex@10" in text
    assert re.findall(r"^\d & 1 & (.*) & (.*) \\\\$", text, re.MULTILINE) == [
        (r"\textbf{0.3000}", "0.9000"),
        (r"\underline{0.2000}", r"\textbf{0.5000}"),
        (r"\underline{0.2000}", r"\underline{0.8000}"),
        ("0.1000", r"\underline{0.8000}"),
    ]
    assert "% 1 failed without a rank, left out" in text


def test_page_is_written_to_the_study_directory_or_output(out: Path, tmp_path: Path) -> None:
    done = report(out, "--format", "html")
    assert done.stdout.strip() == str(out / NAME / "report.html")
    elsewhere = tmp_path / "page.html"
    assert report(out, "--format", "html", "--output", str(elsewhere)).exit_code == 0
    assert elsewhere.read_bytes() == (out / NAME / "report.html").read_bytes()


def test_formats_have_no_test_metrics_by_default(out: Path) -> None:
    assert "test" not in {key for record in known_report_data(1).records for key in record.valid}
    for form in ("csv", "json", "markdown", "latex"):
        assert not re.search(r"\btest\b", report(out, "--format", form).stdout.lower())


@pytest.mark.parametrize(
    ("form", "without"),
    [("table", {"jinja2", "plotly"}), ("latex", {"jinja2", "plotly", "sklearn"}), ("html", set())],
)
def test_report_imports_no_heavy_libraries(out: Path, tmp_path: Path, form: str, without: set[str]) -> None:
    arguments = ["sasrecf-tune", "report", "--out", str(out), "--format", form, "--output", "report"]
    code = f"sys.argv = {arguments!r}; from sasrecf_tune.cli.app import main; main()"
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", *without}
    assert (tmp_path / "report").stat().st_size > 1000


def test_varied_parameters() -> None:
    found: ReportData = known_report_data(20)
    assert "train_batch_size" not in found.varied and "learning_rate" in found.varied
    assert set(METRICS) == set(found.records[0].valid)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<img src=http://example.org>", "&lt;img src=http://example.org>"),
        ("\\<script>", "\\&lt;script>"),
        ("![x](http://example.org)", "![x]\\(http://example.org)"),
        ("[class, <b>]\r\n# x", "[class, &lt;b>] # x"),
        ("a < b|c", "a &lt; b\\|c"),
    ],
)
def test_markdown_loads_nothing_and_is_no_html(text: str, written: str) -> None:
    assert markdown_table([text], []).startswith(f"| {written} |\n")


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\n\n"])
def test_a_text_of_latex_is_one_line(end: str) -> None:
    assert len(latex(f"50% {end}\\input{{x}}").splitlines()) == 1
