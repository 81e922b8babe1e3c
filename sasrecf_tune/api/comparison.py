"""A comparison of studies, for notebooks and scripts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sasrecf_tune.analysis.comparison import Comparison
from sasrecf_tune.api import session
from sasrecf_tune.api.arguments import check_arguments
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.api.html import html_table
from sasrecf_tune.api.study import Study
from sasrecf_tune.report.comparison_text import budgets, heading, note, scores, sentences, warnings
from sasrecf_tune.report.formats.comparison import comparison_csv, comparison_markdown

if TYPE_CHECKING:
    import pandas as pd


class StudyComparison:
    """The best configurations of several studies on fresh seeds, and what each study took."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    @property
    def text(self) -> str:
        """In words which studies can be told apart, and what to keep in mind."""
        return " ".join([*sentences(self._comparison), *warnings(self._comparison)])

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each study, with the columns of `sasrecf-tune compare --format csv`."""
        import pandas as pd

        return pd.read_csv(io.StringIO(comparison_csv(self._comparison)))

    def __repr__(self) -> str:
        return comparison_markdown(self._comparison).rstrip()

    def _repr_html_(self) -> str:
        found = self._comparison
        return (
            f"<div><p>{escape(heading(found))}</p>{html_table(*scores(found))}{html_table(*budgets(found))}"
            f"<p><strong>{escape(self.text)}</strong></p><p>{escape(note(found))}</p></div>"
        )


def compare(
    studies: Sequence[Study | str | Path], *, out: str | Path = "tuning", storage: str | None = None
) -> StudyComparison:
    """Put two studies or more side by side, such as SASRecF and SASRec; confirm each of them first.

    Args:
        studies: Studies, their directories, or names below `out`.
        out: The directory of studies.
        storage: The database's address, for studies that are on a server.

    Raises:
        InputError: There are fewer than two, one cannot be found, or their numbers are not of one kind.
    """
    check_arguments(compare, locals())
    named = [str(study.path) if isinstance(study, Study) else str(study) for study in studies]
    with keyword_names():
        return StudyComparison(session.read_comparison(named, Path(out), storage))
