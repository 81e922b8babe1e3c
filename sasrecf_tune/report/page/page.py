"""report.html: all results on one page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element

from sasrecf_tune.analysis.importance import importance
from sasrecf_tune.analysis.report_data import ReportData, report_data_of
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings, format_duration
from sasrecf_tune.report.confirmation_text import interval_text, seeds_text
from sasrecf_tune.report.page import sections
from sasrecf_tune.report.page.confirmation import confirmed
from sasrecf_tune.report.page.figures import Picture
from sasrecf_tune.report.page.html import document, element
from sasrecf_tune.search.read_results import read_results
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.files import atomic_write
from sasrecf_tune.trials import State, cell_text, score_text

# Nothing may be fetched, whatever a study's texts hold. Plotly sets styles of its own.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page(material: ReportData) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    manifest = material.manifest
    title = f"{material.name}: {material.metric} of {manifest['model']} on {manifest['dataset']}"
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
            "main", element("header", element("h1", material.name), *summary(material)), *_sections(material)
        ),
        element("script", _asset("table.js")),
        # As text: the page is there before the browser has read it.
        element("script", get_plotlyjs(), type="text/plain", id="plotly"),
        element("script", _asset("figures.js")),
    )
    return document(element("html", head, body, lang="en"))


def write_page(study_dir: StudyDirectory, settings: RunSettings, space: SearchSpace) -> None:
    """Bring the study's report.html up to date.

    Raises:
        TuneError: the study cannot be read.
    """
    material = report_data_of(study_dir, settings, space, read_results(study_dir, settings, space))
    atomic_write(study_dir.report, page(material))


def summary(material: ReportData) -> list[Element]:
    """What was searched, on what, how it went, and the best so far."""
    manifest, data = material.manifest, material.manifest["data"]
    states = [f"{material.completed} completed"]
    states += [f"{material.count(State.PRUNED)} were stopped early"] if material.count(State.PRUNED) else []
    states += [f"{material.count(State.FAILED)} failed"] if material.count(State.FAILED) else []
    states += [f"{material.unfinished} not ended"] if material.unfinished else []
    size = material.space.size
    configurations = "infinitely many" if size is None else f"{size:,}"
    what = (
        f"{manifest['model']} on {manifest['dataset']} ({data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions). {Path(material.space.source).name} has {configurations} "
        "configurations; "
        f"{manifest['sampler']} tried {len(material.records):,} of them in "
        f"{format_duration(material.seconds)}: {', '.join(states)}. "
    )
    if material.confirmation is None:
        note = (
            "Scores are of the validation set; nothing here looks at the test set. Each is of one seed: "
            "a small lead can be chance."
        )
    else:
        note = (
            "Scores are of the validation set; test metrics are there for confirmed configurations alone. "
            "Each score of the search is of one seed: a small lead can be chance."
        )
    return [
        element("p", what, element("strong", lead(material)), class_="summary"),
        element("p", note, class_="note"),
    ]


def lead(material: ReportData) -> str:
    """The best so far and how far it is ahead."""
    if material.best is None:
        return "No trial has completed yet."
    best, metric, chosen = material.best, material.metric, material.chosen
    if chosen is not None and chosen.confirmation is not None and material.confirmed_ranking is not None:
        confirmation, verdict = material.confirmed_ranking
        score, on = interval_text(verdict.places[0].score), seeds_text(confirmation.seeds)
        return f"Confirmed: trial {chosen.trial} with {metric} {score} on {on}."
    said = f"Best so far: trial {best.number} with {metric} {score_text(best.score)}"
    level = [str(r.number) for r in material.ranked[1:] if r.score == best.score]
    if level:
        return f"{said}, level with trial{'s' * (len(level) > 1)} {', '.join(level)}."
    if len(material.ranked) == 1:
        return f"{said}, the only one that completed."
    second = material.ranked[1]
    ahead = abs(float(best.score or 0.0) - float(second.score or 0.0))
    return f"{said}, {ahead:.4f} ahead of the next, trial {second.number}."


def _sections(material: ReportData) -> Iterator[Element]:
    if material.best is not None:
        yield _best(material)
    if material.confirmed_ranking is not None:
        yield confirmed(*material.confirmed_ranking, material.metric, material.varied)
    if material.rows:
        yield sections.ranking(material)
    if material.best is not None:
        found = importance(material)
        yield from _drawn(sections.pictures(material))
        yield from sections.parameters(material, found)
        yield from _drawn(sections.parameter_pictures(material, found))
        yield from _drawn(sections.cost_pictures(material))
    if material.rows:
        yield sections.spent(material)
    if material.count(State.FAILED):
        yield sections.failures(material)
    yield sections.provenance(material)


def _best(material: ReportData) -> Element:
    best, chosen = material.best, material.chosen
    assert best is not None
    title, params = f"The best so far: trial {best.number}", best.params
    if chosen is not None and chosen.confirmation is not None:
        title, params = f"The confirmed best: trial {chosen.trial}", chosen.record.params
    pairs = [
        element("div", element("dt", name), element("dd", cell_text(params[name])))
        for name in material.space.names
        if name in params
    ]
    return element(
        "section",
        element("h2", title),
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
    return files("sasrecf_tune.report.page").joinpath(name).read_text(encoding="utf-8")
