"""report.html: all results on one page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from xml.etree.ElementTree import Element

from sasrecf_tune.ranking import FAILED, PRUNED
from sasrecf_tune.report import sections
from sasrecf_tune.report.exports import cell_text, score_text
from sasrecf_tune.report.figures import Picture
from sasrecf_tune.report.importance import importance
from sasrecf_tune.report.markup import document, element
from sasrecf_tune.report.results import Results
from sasrecf_tune.settings import format_duration

# Nothing may be fetched, whatever a study's texts hold. Plotly sets styles of its own.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(results: Results) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    title = f"{results.name}: {results.metric} of SASRecF on {results.manifest['dataset']}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _asset("page.css")),
    )
    body = element(
        "body",
        element(
            "main", element("header", element("h1", results.name), *summary(results)), *_sections(results)
        ),
        element("script", _asset("table.js")),
        element("script", get_plotlyjs()),
        element("script", _asset("figures.js")),
    )
    return document(element("html", head, body, lang="en"))


def summary(results: Results) -> list[Element]:
    """What was searched, on what, how it went, and the best so far."""
    manifest, data = results.manifest, results.manifest["data"]
    states = [f"{results.completed} completed"]
    states += [f"{results.count(PRUNED)} were stopped early"] if results.count(PRUNED) else []
    states += [f"{results.count(FAILED)} failed"] if results.count(FAILED) else []
    states += [f"{results.unfinished} not ended"] if results.unfinished else []
    size = results.space.size
    configurations = "infinitely many" if size is None else f"{size:,}"
    what = (
        f"{manifest['model']} on {manifest['dataset']} ({data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions). {results.space.source} has {configurations} "
        "configurations; "
        f"{manifest['sampler']} tried {len(results.records):,} of them in "
        f"{format_duration(results.seconds)}: {', '.join(states)}. "
    )
    return [
        element("p", what, element("strong", lead(results)), class_="summary"),
        element(
            "p",
            "Scores are of the validation set; nothing here looks at the test set. Each is of one seed: "
            "a small lead can be chance.",
            class_="note",
        ),
    ]


def lead(results: Results) -> str:
    """The best so far and how far it is ahead."""
    if results.best is None:
        return "No trial has completed yet."
    best, metric = results.best, results.metric
    said = f"Best so far: trial {best.number} with {metric} {score_text(best.score)}"
    level = [str(r.number) for r in results.ranked[1:] if r.score == best.score]
    if level:
        return f"{said}, level with trial{'s' * (len(level) > 1)} {', '.join(level)}."
    if len(results.ranked) == 1:
        return f"{said}, the only one that completed."
    second = results.ranked[1]
    ahead = abs(float(best.score or 0.0) - float(second.score or 0.0))
    return f"{said}, {ahead:.4f} ahead of the next, trial {second.number}."


def _sections(results: Results) -> Iterator[Element]:
    if results.best is not None:
        yield _best(results)
    # The place of a table of confirmed configurations: what was trained again on several seeds.
    if results.rows:
        yield sections.ranking(results)
    if results.best is not None:
        found = importance(results)
        yield from _drawn(sections.pictures(results))
        yield from sections.parameters(results, found)
        yield from _drawn(sections.parameter_pictures(results, found))
        yield from _drawn(sections.cost_pictures(results))
    if results.rows:
        yield sections.spent(results)
    if results.count(FAILED):
        yield sections.failures(results)
    yield sections.provenance(results)


def _best(results: Results) -> Element:
    assert results.best is not None
    names = [name for name in results.space.names if name in results.best.params]
    pairs = [
        element("div", element("dt", name), element("dd", cell_text(results.best.params[name])))
        for name in names
    ]
    return element(
        "section",
        element("h2", f"The best so far: trial {results.best.number}"),
        element("dl", pairs, class_="values"),
        element(
            "p",
            element("code", "best.yaml"),
            " beside this page is a RecBole config file of it.",
            class_="note",
        ),
    )


def _drawn(groups: list[sections.Group]) -> Iterator[Element]:
    for group in groups:
        yield element(
            "section",
            element("h2", group.title),
            element("p", group.text, class_="note") if group.text else None,
            element(
                "div", [_figure(picture) for picture in group.pictures], class_=f"pictures {group.layout}"
            ),
        )


def _figure(picture: Picture) -> Element:
    style = f"height:{picture.height}px" + (f";min-width:{picture.wide}px" if picture.wide else "")
    # JSON in a script is read as text up to `</`, which its strings must not have.
    content = json.dumps(
        {"data": picture.data, "layout": picture.layout}, separators=(",", ":"), ensure_ascii=False
    ).replace("<", "\\u003c")
    return element(
        "figure",
        element("figcaption", element("h3", picture.title), element("p", picture.text)),
        element(
            "div",
            element(
                "div", class_="plot", role="img", aria_label=f"{picture.title}. {picture.text}", style=style
            ),
            class_="scroll",
        ),
        element("script", content, type="application/json"),
        id=picture.key,
    )


def _asset(name: str) -> str:
    return files("sasrecf_tune.report").joinpath(name).read_text(encoding="utf-8")
