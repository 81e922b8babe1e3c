"""The tutorial from raw data to recommendations: its tables, and what `import` prints of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import Cli
from tests.support.readme_blocks import DOCS

PAGE = (DOCS / "tutorial" / "raw-data-to-recommendations.md").read_text()


def test_the_script_and_the_import_of_the_tutorial_give_what_it_shows(cli: Cli, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    done = cli("import", "raw/october.csv", "--items", "raw/movies.csv", "--out", "data/films")
    assert done.returncode == 0, done.stderr
    assert done.stdout in PAGE
