"""The part of the page on what was trained again on fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from sasrecf_tune.analysis.confirmation import Confirmation, Verdict
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.confirmation_text import heading, note, place_cells, sentences
from sasrecf_tune.report.page.html import element
from sasrecf_tune.trials import cell_text


def confirmed(confirmation: Confirmation, verdict: Verdict, metric: Metric, names: Sequence[str]) -> Element:
    """The places, what they say, and how they were compared; `names` are parameters to show."""
    names = [name for name in names if name != "seed"]
    headers, *cells = place_cells(confirmation, verdict, metric)
    rows = []
    for place, own in zip(verdict.places, cells, strict=True):
        params = confirmation.configurations[place.trial]
        values = [cell_text(params[name]) if name in params else "" for name in names]
        rows.append(element("tr", [element("td", cell) for cell in (*own, *values)]))
    header = element("tr", [element("th", name, scope="col") for name in (*headers, *names)])
    return element(
        "section",
        element("h2", "Confirmation"),
        element("p", element("strong", " ".join(sentences(confirmation, verdict)))),
        element(
            "div",
            element(
                "table",
                element("caption", heading(confirmation, str(metric))),
                element("thead", header),
                element("tbody", rows),
            ),
            class_="scroll",
        ),
        element("p", note(verdict), class_="note"),
        id="confirmation",
    )
