"""What the API says of studies whose results are known."""

from __future__ import annotations

import gc
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import sasrecf_tune as st
from tests.support.known_studies import NAME, plant


@pytest.fixture
def study(tmp_path: Path) -> st.Study:
    plant(tmp_path, 40)
    return st.load_study(tmp_path / NAME)


def test_a_data_frame_has_all_ended_trials(study: st.Study) -> None:
    frame = study.trials_dataframe()
    assert len(frame) == 40 and list(frame["rank"].dropna()) == sorted(frame["rank"].dropna())
    assert set(frame["state"]) == {"complete", "pruned", "failed"}
    assert frame["rank"].isna().equals(frame["state"] != "complete")
    assert frame["error"].notna().equals(frame["state"] == "failed")
    assert frame["number"][0] == study.best.number and frame["score"][0] == study.best.score
    curves = study.curves()
    ended = frame[frame["state"] != "failed"].set_index("number")["score"]
    assert curves.max()[ended.index].eq(ended).all()


def test_reading_a_study_leaves_its_database_closed(study: st.Study) -> None:
    gc.disable()
    try:
        assert study.trials
        links = list(Path("/proc/self/fd").iterdir())
        assert not [link for link in links if link.resolve() == study.path / "study.db"]
    finally:
        gc.enable()


def test_the_view_has_the_first_rows_and_all_curves(study: st.Study) -> None:
    root = ElementTree.fromstring(study._repr_html_())
    tags = [element.tag.split("}")[-1] for element in root.iter()]
    assert tags.count("tr") == 11 and tags.count("polyline") == len(study.curves().columns)
    assert "... and 30 more" in "".join(root.itertext())
    assert not {"script", "img", "link", "iframe"} & set(tags)


def test_two_studies_are_compared(study: st.Study, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    plant(tmp_path / "two", 8, 1)
    found = st.compare([study, str(tmp_path / "two" / NAME)])
    frame = found.to_dataframe()
    assert isinstance(frame, pd.DataFrame) and len(frame) == 2
    assert "it is not confirmed" in found.text and "| study |" in repr(found)
    assert ElementTree.fromstring(found._repr_html_()).tag == "div"
    with pytest.raises(st.InputError, match="requires at least two studies"):
        st.compare([study])


def test_a_report_is_written_where_it_is_wanted(study: st.Study, tmp_path: Path) -> None:
    written = study.report_html(tmp_path / "page.html")
    assert written == tmp_path / "page.html" and "<!doctype html>" in written.read_text()
