"""The picture of a terminal."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.terminal import main


def test_the_picture_has_the_text_and_loads_nothing(tmp_path: Path) -> None:
    capture, picture = tmp_path / "search.ansi", tmp_path / "search.svg"
    capture.write_text("typed\n\x1b[36mtrial\n7\x1b[0m & more\n\n\n")
    main(capture, picture, first="$ command", title="a search")
    text = picture.read_text().replace("&#160;", " ")
    assert "$ command" in text and "typed" not in text and "a search" in text and "&amp; more" in text
    assert "url(http" not in text and "@font-face" not in text
