"""The result of a confirmation, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from sasrecf_tune.analysis.confirmation import (
    Confirmation,
    Estimate,
    on_test,
    on_validation,
    rank_confirmed,
)
from sasrecf_tune.api.html import html_table
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.confirmation_text import heading, note, place_cells, sentences

if TYPE_CHECKING:
    import pandas as pd


class ConfirmationResult:
    """The best configurations of a search, trained again on fresh seeds, ranked by mean validation score.

    `Study.confirm` and `Study.confirmation` return it.
    """

    def __init__(
        self, confirmation: Confirmation, metric: Metric, unit: float, varied: Sequence[str]
    ) -> None:
        self._confirmation = confirmation
        self._verdict = rank_confirmed(confirmation, metric.maximize, unit)
        self._metric = metric
        self._names = [name for name in varied if name != "seed"]

    @property
    def trials(self) -> list[int]:
        """The trials whose configurations were confirmed, best first."""
        return [place.trial for place in self._verdict.places]

    @property
    def tied(self) -> list[int]:
        """The trials that cannot be told apart from the first, the first included."""
        return [place.trial for place in self._verdict.places if place.tied]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The fresh seeds."""
        return self._confirmation.seeds

    @property
    def complete(self) -> bool:
        """Whether all runs have ended."""
        return self._confirmation.complete

    @property
    def text(self) -> str:
        """In words which configurations can be told apart."""
        return " ".join(sentences(self._confirmation, self._verdict))

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each configuration, best first.

        Columns: `rank`, `trial`, the parameters that vary, `mean`, `sd` and `half_interval` (95%) of the
        study's metric on validation, `p` (against the first), `tied`, `seconds` a run, and the means of all
        metrics as `valid ...` and `test ...`.
        """
        import pandas as pd

        rows = [
            {
                "rank": rank,
                "trial": place.trial,
                **{name: self._confirmation.configurations[place.trial].get(name) for name in self._names},
                "mean": place.score.mean,
                "sd": place.score.sd,
                "half_interval": place.score.half_interval,
                "p": self._verdict.p(place),
                "tied": place.tied,
                "seconds": place.seconds,
                **_means("valid", on_validation(self._confirmation, self._verdict, place.trial)),
                **_means("test", on_test(self._confirmation, self._verdict, place.trial)),
            }
            for rank, place in enumerate(self._verdict.places, start=1)
        ]
        return pd.DataFrame(rows)

    def runs_dataframe(self) -> pd.DataFrame:
        """A row for each run: its trial, seed, state and epochs, and its validation and test metrics."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "trial": trial,
                    "seed": seed,
                    "state": str(record.state),
                    "score": record.score,
                    "trained_epochs": record.epochs,
                    "seconds": record.seconds,
                    **{f"valid {key}": value for key, value in record.valid.items()},
                    **{
                        f"test {key}": value
                        for key, value in self._confirmation.tests.get((trial, seed), {}).items()
                    },
                }
                for (trial, seed), record in sorted(self._confirmation.runs.items())
            ]
        )

    def __repr__(self) -> str:
        title = heading(self._confirmation, str(self._metric))
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in cells]
        return "\n".join([title, *(lines if len(lines) > 1 else ()), self.text])

    def _repr_html_(self) -> str:
        header, *rows = self._cells()
        return (
            f"<div><p>{escape(heading(self._confirmation, str(self._metric)))}</p>{html_table(header, rows)}"
            f"<p><strong>{escape(self.text)}</strong></p><p>{escape(note(self._verdict))}</p></div>"
        )

    def _cells(self) -> list[list[str]]:
        return place_cells(self._confirmation, self._verdict, self._metric)


def _means(part: str, estimates: dict[str, Estimate]) -> dict[str, float]:
    return {f"{part} {key}": estimate.mean for key, estimate in estimates.items()}
