"""The API in a real Jupyter kernel."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.support.readme_blocks import DOCS, ROOT
from tests.support.tiny import TINY

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

PAGE = (DOCS / "tutorial" / "notebook.md").read_text()
CONFIG = repr({name: value for name, value in TINY.items() if name != "n_layers"})
INTERRUPTED = f"""
import os, signal
class StopButton:
    def on_trial_end(self, trial):
        os.kill(os.getpid(), signal.SIGINT)
try:
    st.tune(space, trials=50, study="stopped", config={CONFIG}, callbacks=[StopButton()])
except KeyboardInterrupt:
    print("interrupted")
"""
# So that the page's cells take seconds.
SMALLER = {
    '{"epochs": 5, "hidden_size": 64, "MAX_ITEM_LIST_LENGTH": 10}': CONFIG,
    "trials=8": "trials=2, workers=1",
    "trials=9": "trials=3",
    "top=3, seeds=5": "top=1, seeds=1",
    ".plot()": "",
}


def cells() -> list[str]:
    """The cells of the tutorial."""
    found: list[str] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for old, new in SMALLER.items():
        assert any(old in cell for cell in found), old
        found = [cell.replace(old, new) for cell in found]
    return found


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """What each cell of the notebook has put out."""
    directory = tmp_path_factory.mktemp("notebook")
    ours = [*cells(), INTERRUPTED, 'st.load_study("tuning/stopped")']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ours])
    before = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{before}")
        resources = {"metadata": {"path": str(directory)}}
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    assert (directory / "tuning" / "stopped" / "ranking.md").is_file()
    return [cell.outputs for cell in notebook.cells]


def html(output: dict[str, Any]) -> str:
    return str(output["data"].get("text/html", ""))


def text(cell: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in cell if output["output_type"] == "stream")


def test_a_space_is_shown_as_a_table(outputs: list[list[dict[str, Any]]]) -> None:
    assert html(outputs[0][-1]).startswith("<table>")


def test_a_search_shows_the_plan_and_the_study(outputs: list[list[dict[str, Any]]]) -> None:
    shown = text(outputs[1])
    assert shown.startswith("preparing ml-100k ...") and "metric  MRR@10 on the validation set" in shown
    assert "Warning" not in shown and "started:" not in shown  # the live view shows what runs
    live = [output for output in outputs[1] if output["output_type"] == "display_data"]
    assert [html(output) for output in live] == [""]  # it goes when the search has ended
    assert "<svg" in html(outputs[1][-1]) and re.search("ml-100k-space: [12] complete", html(outputs[1][-1]))


def test_the_stop_button_keeps_what_has_ended(outputs: list[list[dict[str, Any]]]) -> None:
    assert text(outputs[-2]).endswith("The same call continues the search.\ninterrupted\n")
    assert "stopped: 1 complete" in html(outputs[-1][-1])


def test_the_other_cells_show_their_results(outputs: list[list[dict[str, Any]]]) -> None:
    frame, curves, best, confirmation, saved, loaded, callback = outputs[2:-2]
    assert "<td>complete</td>" in html(frame[-1]) and "<th>trial</th>" in html(curves[-1])
    assert "BestTrial(number=" in best[-1]["data"]["text/plain"]
    assert "Confirmation of 1 configuration" in html(confirmation[-1])
    assert "best.yaml" in saved[-1]["data"]["text/plain"] and "confirmed" in html(loaded[-1])
    assert re.match(r"\d \d 0\.\d", text(callback))  # the new trial or one that was paused


def test_the_live_view_is_drawn_as_html(monkeypatch: pytest.MonkeyPatch) -> None:
    from sasrecf_tune.inputs.metrics import parse_metric
    from sasrecf_tune.messages import Report
    from sasrecf_tune.report.terminal.notebook import NotebookConsole, NotebookView
    from sasrecf_tune.report.terminal.progress import make_progress

    view = NotebookView(make_progress(["x"], parse_metric("MRR@10"), True, 4, 5, 1, []), NotebookConsole())
    view.on_trial_start(3, {"x": "<script>"})
    view.on_report(Report(3, 1, 0.25, {"mrr@10": 0.25}, 1.0, 2.0))
    shown = view._html().data
    lines = re.sub("<[^>]*>", "", shown).splitlines()
    header, trial, *_ = (line.split() for line in lines if line.strip())
    assert header[:3] == ["trial", "epoch", "MRR@10"] and trial[:4] == ["3", "1/5", "0.2500", "1.0000"]
    assert "&lt;script&gt;" in shown and "<script>" not in shown
