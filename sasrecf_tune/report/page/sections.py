"""The parts of the page, each a section with its heading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from sasrecf_tune.analysis.budget import budget
from sasrecf_tune.analysis.importance import LEAST_TRIALS, Importance
from sasrecf_tune.analysis.main_effects import Level, MainEffect, main_effects
from sasrecf_tune.analysis.report_data import ReportData
from sasrecf_tune.inputs.literals import Value, is_number
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.report.page import figures
from sasrecf_tune.report.page.html import breakable, element
from sasrecf_tune.report.terminal.tables import epochs_text
from sasrecf_tune.trials import Row, State, cell_text, score_text

# A parameter with more values has no list to choose from.
_MOST_CHOICES = 12
# Pairs of so many of the parameters that matter most are drawn together.
_PAIRED = 3


@dataclass(frozen=True)
class Group:
    """Pictures under one heading; `layout` is "one" (each over the whole width), "two" or "many" in a row."""

    title: str
    pictures: Sequence[figures.Picture]
    text: str = ""
    layout: str = "two"


def ranking(material: ReportData) -> Element:
    """The ranked table, with what filters it."""
    names = material.varied
    columns = ["rank", str(material.metric), "trial", "state", "epochs", "time", *names]
    head = element(
        "tr",
        [
            element(
                "th",
                element("button", breakable(name), type="button"),
                scope="col",
                class_="number" if i < 3 else None,
            )
            for i, name in enumerate(columns)
        ],
    )
    fixed = [name for name in material.space.names if name not in names]
    params = material.rows[0].record.params
    same = ", ".join(f"{name} {cell_text(params[name])}" for name in fixed if name in params)
    return element(
        "section",
        element("h2", "All trials"),
        _filters(material, columns),
        element(
            "div",
            element(
                "table",
                element("caption", f"Trials ranked by {material.metric} on the validation set"),
                element("thead", head),
                element("tbody", [_row(row, names) for row in material.rows]),
                id="trials",
            ),
            class_="scroll",
        ),
        element("p", element("button", "Show all", type="button", id="more", hidden=True)),
        element("p", f"The same in all: {same}.", class_="note") if same else None,
        element(
            "p",
            "A pruned trial's score is of fewer epochs, so it has no rank. Epochs: trained, and in brackets "
            "the best one.",
            class_="note",
        ),
        id="ranking",
    )


def _filters(material: ReportData, columns: Sequence[str]) -> Element:
    choices: list[Element] = []
    for name in ("state", *material.varied):
        values: list[Value] = [
            r.record.state if name == "state" else r.record.params.get(name)
            for r in material.rows
            if name == "state" or name in r.record.params
        ]
        labels = {cell_text(value): value for value in values}
        if not 1 < len(labels) <= _MOST_CHOICES:
            continue
        order = sorted(labels, key=lambda text: _number(labels[text]))
        options = [
            element("option", "any", value=""),
            *(element("option", text, value=f"={text}") for text in order),
        ]
        column = columns.index(name) if name == "state" else 6 + material.varied.index(name)
        choices.append(element("label", name, element("select", options, data_column=column)))
    return element(
        "form",
        choices,
        element("label", "contains", element("input", type="search", id="search", size=12)),
        element("output", f"{len(material.rows):,} trials", id="count", aria_live="polite"),
        class_="filters",
        autocomplete="off",
    )


def _number(value: Value) -> float:
    return float(value) if is_number(value) else 0.0


def _row(row: Row, names: Sequence[str]) -> Element:
    record = row.record
    cells: list[tuple[str, Any]] = [
        (str(row.rank or ""), row.rank),
        (score_text(record.score), record.score),
        (str(record.number), record.number),
        (record.state, None),
        (epochs_text(record), record.epochs),
        (format_duration(record.seconds), record.seconds),
    ]
    for name in names:
        value = record.params.get(name)
        text = cell_text(value) if name in record.params else ""
        cells.append((text, value if is_number(value) else None))
    return element(
        "tr",
        [
            element("td", text, data_v=value, class_="number" if i < 3 else "param" if i > 5 else None)
            for i, (text, value) in enumerate(cells)
        ],
        class_=f"{record.state}{' best' if row.rank == 1 else ''}",
    )


def pictures(material: ReportData) -> list[Group]:
    """How the search went."""
    return [Group("How the search went", [figures.history(material), figures.learning_curves(material)])]


def parameters(material: ReportData, mattered: Importance | None) -> Iterator[Element]:
    """Importance, and a table of each parameter's values."""
    yield _importance(mattered)
    found = main_effects(material.records, material.varied, material.metric.maximize)
    if found:
        yield element(
            "section",
            element("h2", "What each value does"),
            element(
                "p",
                f"From the {found[0].trials:,} completed trials. The difference to the best value is that "
                "of a linear fit, which allows for the other parameters named; ± is half its 95% interval, "
                "widened for the number of values compared. Pruned trials, mostly bad ones, are only "
                "counted: the values that they had are worse than they look.",
                class_="note",
            ),
            element("div", [_marginal(one) for one in found], class_="marginals"),
            id="marginals",
        )


def _importance(found: Importance | None) -> Element:
    if found is None:
        text = f"What mattered can be told from {LEAST_TRIALS} completed trials on, when scores differ."
        return element("section", element("h2", "What mattered"), element("p", text), id="importance")
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", element("span", class_="bar", style=f"width:{share:.1%}"), class_="bars"),
            element("td", _percent(share), class_="number"),
        )
        for name, share in found.shares.items()
    ]
    return element(
        "section",
        element("h2", "What mattered"),
        element(
            "p",
            f"The share of each parameter in what single parameters explain of the scores' variance (fANOVA, "
            f"from {found.trials:,} completed trials). With few trials, small shares are chance.",
            class_="note",
        ),
        element("table", element("tbody", rows), class_="importance"),
        id="importance",
    )


def _marginal(marginal: MainEffect) -> Element:
    beside = f"Allowing for {', '.join(marginal.beside)}." if marginal.beside else ""
    header = ["value", "completed", "pruned", "mean", "behind the best"]
    return element(
        "div",
        element("h3", marginal.name),
        element("p", marginal.sentence, "."),
        element(
            "div",
            element(
                "table",
                element("thead", element("tr", [element("th", name, scope="col") for name in header])),
                element("tbody", [_level(level) for level in marginal.levels]),
            ),
            class_="scroll",
        ),
        element("p", beside, class_="note") if beside else None,
        class_="marginal",
    )


def _level(level: Level) -> Element:
    if level.behind is None:
        behind = "not known"
    elif level.behind == 0:
        behind = "-"
    else:
        behind = f"{level.behind:.4f} ± {level.margin:.4f}{'' if level.beaten else ' (noise)'}"
    cells = [str(level.completed), str(level.pruned), score_text(level.mean), behind]
    return element(
        "tr",
        element("th", level.label, scope="row"),
        [element("td", cell) for cell in cells],
        class_="clear" if level.beaten else None,
    )


def parameter_pictures(material: ReportData, mattered: Importance | None) -> list[Group]:
    """Slices, pairs, and all parameters together."""
    names = [
        n for n in material.varied if len({repr(record.params.get(n)) for record in material.ranked}) > 1
    ]
    if not names:
        return []
    text = "A point for each completed trial; the later, the stronger in colour."
    groups = [Group("Score by parameter", figures.slices(material, names), text, "many")]
    if mattered is not None and len(names) > 1:
        pairs = figures.contours(material, list(mattered.shares)[:_PAIRED])
        text = (
            "The parameters that mattered most, in pairs. Between cells without a trial the picture guesses."
        )
        groups.append(Group("Two parameters together", pairs, text, "many"))
    groups.append(Group("All parameters together", [figures.parallel(material, names)], layout="one"))
    return groups


def cost_pictures(material: ReportData) -> list[Group]:
    """Score against time and against the size of the model."""
    drawn = [figures.cost(material, "training time", "seconds", lambda record: record.seconds)]
    if len({record.weights for record in material.ranked}) > 1:
        drawn.append(figures.cost(material, "model size", "weights", lambda record: record.weights))
    return [Group("What quality costs", drawn)]


def spent(material: ReportData) -> Element:
    """Where the time went."""
    shares = budget(material.records)
    rows = [
        element(
            "tr",
            element("th", share.state, scope="row"),
            element("td", f"{share.trials:,}"),
            element("td", f"{share.epochs:,}"),
            element("td", format_duration(share.seconds)),
            element("td", _percent(share.part)),
            element(
                "td",
                element("span", class_=f"bar {share.state}", style=f"width:{share.part:.1%}"),
                class_="bars",
            ),
        )
        for share in shares
    ]
    header = ["", "trials", "epochs", "training time", "share", ""]
    return element(
        "section",
        element("h2", "Where the time went"),
        element(
            "div",
            element(
                "table",
                element("thead", element("tr", [element("th", name, scope="col") for name in header])),
                element("tbody", rows),
                class_="spent",
            ),
            class_="scroll",
        ),
        id="spent",
    )


def failures(material: ReportData) -> Element:
    """Why trials failed, equal reasons together."""
    reasons: dict[str, list[int]] = {}
    for record in material.records:
        if record.state == State.FAILED:
            reasons.setdefault(record.error or "no reason was recorded", []).append(record.number)
    items = [
        element(
            "li", f"{'trials' if len(numbers) > 1 else 'trial'} {_some(numbers)}: ", element("code", reason)
        )
        for reason, numbers in reasons.items()
    ]
    return element("section", element("h2", "What failed"), element("ul", items), id="failures")


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _time(text: object) -> str:
    return str(text).replace("T", " ").replace("+00:00", " UTC")


def provenance(material: ReportData) -> Element:
    """What the study was made from and with."""
    manifest = material.manifest
    machine = manifest.get("machine", {})
    versions = ", ".join(
        f"{name} {version}" for name, version in manifest.get("versions", {}).items() if version
    )
    ways = [manifest, *reversed(manifest.get("earlier", []))]
    facts = {
        "command": " ".join(manifest.get("command", [])),
        "begun": " and last taken up ".join(
            dict.fromkeys(_time(manifest.get(k)) for k in ("created", "updated"))
        ),
        "data": f"{manifest['dataset']}, fingerprint {manifest['data'].get('fingerprint')}",
        "seed": manifest.get("seed"),
        "sampler, pruner": ", before that ".join(
            f"{way['sampler']}, {way['pruner']['name']}" for way in ways
        ),
        "engine": f"{manifest.get('engine')} on {manifest['data'].get('device')}",
        "machine": ", ".join(f"{key} {value}" for key, value in machine.items()),
        "versions": f"sasrecf-tune {manifest.get('sasrecf_tune')}, {versions}",
    }
    rows = [element("div", element("dt", name), element("dd", str(value))) for name, value in facts.items()]
    return element(
        "section",
        element("h2", "Provenance"),
        element("dl", rows, class_="facts"),
        element("h3", material.space.source),
        element("pre", material.space.write()),
        element(
            "details",
            element("summary", "manifest.json"),
            element("pre", json.dumps(manifest, indent=2, ensure_ascii=False, default=str)),
        ),
        id="provenance",
    )
