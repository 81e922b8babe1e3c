"""The part of the page on what was trained again on fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from sasrecf_tune.confirmation import Confirmation, Verdict, on_test
from sasrecf_tune.metrics import Metric
from sasrecf_tune.report.confirmed import estimate_cells, heading, note, p_text, sentences
from sasrecf_tune.report.exports import cell_text
from sasrecf_tune.report.markup import element
from sasrecf_tune.settings import format_duration


def confirmed(confirmation: Confirmation, verdict: Verdict, metric: Metric, names: Sequence[str]) -> Element:
    """The places, what they say, and how they were compared; `names` are parameters to show."""
    tested, names = bool(confirmation.tests), [name for name in names if name != "seed"]
    headers = ["rank", "trial", f"valid {metric}", "sd", "p"]
    headers += [f"test {metric}", "sd"] if tested else []
    headers += ["time", *names]
    rows = []
    for rank, place in enumerate(verdict.places, start=1):
        test = on_test(confirmation, verdict, place.trial).get(metric.key)
        params = confirmation.configurations[place.trial]
        cells = [str(rank), str(place.trial), *estimate_cells(place.score), p_text(verdict, place)]
        cells += estimate_cells(test) if tested else ()
        cells += [format_duration(place.seconds)]
        cells += [cell_text(params[name]) if name in params else "" for name in names]
        rows.append(element("tr", [element("td", cell) for cell in cells]))
    return element(
        "section",
        element("h2", "Confirmation"),
        element("p", element("strong", " ".join(sentences(confirmation, verdict)))),
        element(
            "div",
            element(
                "table",
                element("caption", heading(confirmation, str(metric))),
                element("thead", element("tr", [element("th", header, scope="col") for header in headers])),
                element("tbody", rows),
            ),
            class_="scroll",
        ),
        element("p", note(verdict), class_="note"),
        id="confirmation",
    )
