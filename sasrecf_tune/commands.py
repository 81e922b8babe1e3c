"""What the commands other than the search itself do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sasrecf_tune.atomic_files import check_columns, locate
from sasrecf_tune.checks import check_space
from sasrecf_tune.config_files import read_base
from sasrecf_tune.errors import ConfigFileError, DataError, InputError, StorageError, StudyNotFoundError
from sasrecf_tune.feasibility import feasibility
from sasrecf_tune.files import atomic_write, make_directory
from sasrecf_tune.layout import Layout, default_name, find_study, study_layout
from sasrecf_tune.layout import studies as all_studies
from sasrecf_tune.manifest import read_manifest, settings_from
from sasrecf_tune.metrics import parse_metric
from sasrecf_tune.parameters import TABLE
from sasrecf_tune.ranking import Row
from sasrecf_tune.report.exports import trials_ended
from sasrecf_tune.results import Results, read_results
from sasrecf_tune.screen import print_table, screen
from sasrecf_tune.settings import Engine, Pruner, RunSettings, Sampler, SearchSettings, parse_duration
from sasrecf_tune.space import SearchSpace, read

if TYPE_CHECKING:
    from sasrecf_tune.report.material import Material


def run_settings(
    *,
    params_file: Path,
    space: SearchSpace,
    dataset: str,
    data_path: Path | None,
    config_files: str,
    overrides: Sequence[str],
    model: str,
    study: str | None,
    out: Path,
    storage: str | None,
    metric: str | None,
    seed: int | None,
    sampler: Sampler,
    pruner: Pruner,
    trials: int | None,
    timeout: str | None,
    patience: int | None,
    hang_timeout: str | None,
    retries: int,
    fail_fast: bool,
    grace: str,
    checkpoint_every: int,
    confirm: int,
    confirm_seeds: int,
    workers: int | None,
    gpus: str,
    trials_per_gpu: int,
    engine: Engine,
) -> RunSettings:
    """The command line as settings; an option wins over a config file.

    Raises:
        InputError: something given cannot be used.
    """
    base = base_settings(space, data_path, dataset, config_files, overrides)
    chosen = metric or str(base.pop("valid_metric", "MRR@10"))
    base.pop("valid_metric", None)
    first_seed = seed if seed is not None else int(base.pop("seed", 2020))
    base.pop("seed", None)
    name = study or default_name(dataset, params_file)
    study_layout(out, name)
    cards = parse_gpus(gpus)
    return RunSettings(
        params_file=params_file,
        name=name,
        out=out.absolute(),
        dataset=dataset,
        base=base,
        metric=parse_metric(chosen),
        seed=first_seed,
        engine=engine,
        model=model,
        storage=storage,
        search=SearchSettings(
            sampler=sampler,
            pruner=pruner,
            trials=trials,
            timeout=parse_duration(timeout) if timeout else None,
            patience=patience,
            hang_timeout=parse_duration(hang_timeout, "--hang-timeout") if hang_timeout else None,
            retries=retries,
            fail_fast=fail_fast,
            grace=parse_duration(grace, "--grace"),
            checkpoint_every=checkpoint_every,
            confirm=confirm,
            confirm_seeds=confirm_seeds,
        ),
        workers=worker_count(workers, cards, trials_per_gpu),
        gpus=cards,
    )


def base_settings(
    space: SearchSpace, data_path: Path | None, dataset: str, config_files: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """Config files and --set options, with --data-path put as RecBole takes it.

    Raises:
        InputError: unreadable, not allowed, or at odds with the search space or the options.
    """
    base = read_base([Path(name) for name in config_files.split()], overrides)
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key in space.names:
            raise ConfigFileError(
                f"`{key}` is searched in {space.source} and also set",
                where="--set",
                fix="Keep one of the two.",
            )
    if base.pop("model", "SASRecF") != "SASRecF":
        raise ConfigFileError("a config file names another model", fix="This tuner is for SASRecF.")
    if base.pop("dataset", dataset) != dataset:
        raise ConfigFileError(
            "a config file names another data set than --dataset", fix=f"The run would take {dataset!r}."
        )
    if data_path is not None:
        base["data_path"] = recbole_data_path(data_path, dataset)
    return base


def recbole_data_path(data_path: Path, dataset: str) -> str:
    """--data-path as RecBole takes it: the parent; the directory with the files themselves is as clear.

    Raises:
        DataError: it cannot be looked into.
    """
    try:
        holds_files = (data_path / f"{dataset}.inter").is_file() and data_path.resolve().name == dataset
    except OSError as error:  # a name that is too long, or a directory that may not be looked into
        raise DataError(f"cannot read: {error.strerror}", where=str(data_path)) from error
    return str(data_path.resolve().parent if holds_files else data_path)


def parse_gpus(text: str) -> tuple[str, ...]:
    """ "auto" (the first card there is), "none" (the CPU), or indices such as "0,1".

    Raises:
        InputError: none of these.
    """
    if text == "auto":
        return ()
    if text in {"none", ""}:
        return ("",)
    cards = tuple(part.strip() for part in text.split(","))
    if not all(card.isdigit() for card in cards):
        raise InputError(f"{text!r} names no cards", where="--gpus", fix="Write auto, none, or numbers: 0,1.")
    return cards


def worker_count(workers: int | None, gpus: tuple[str, ...], trials_per_gpu: int) -> int:
    """How many workers: as many as given, else `trials_per_gpu` for each card.

    Raises:
        InputError: there are no cards to share, or the two numbers are at odds.
    """
    if trials_per_gpu > 1 and gpus == ("",):
        raise InputError(
            "there is no card to share",
            where=f"--trials-per-gpu {trials_per_gpu} --gpus none",
            fix="On the CPU, --workers says how many trials are trained at the same time.",
        )
    cards = max(1, len(gpus))
    if workers is None:
        return cards * trials_per_gpu
    if trials_per_gpu > 1 and workers != cards * trials_per_gpu:
        raise InputError(
            f"{cards} card{'s' * (cards > 1)} with {trials_per_gpu} trials each are not {workers} workers",
            where="--workers",
            fix="Give one of --workers and --trials-per-gpu.",
        )
    return workers


def report_study(
    out: Path,
    name: str | None,
    storage: str | None,
    top: int,
    form: str,
    output: Path | None,
    show_test: bool = False,
    filters: Sequence[str] = (),
    order: str | None = None,
) -> None:
    """Print or write the results of a study, and what its confirmation says.

    Raises:
        InputError: a filter or an order that there is not.
        TuneError: there is no such study, or it cannot be read.
    """
    from sasrecf_tune.report.exports import ranking_csv, ranking_json, ranking_markdown
    from sasrecf_tune.report.latex import confirmed_latex, ranking_latex
    from sasrecf_tune.report.material import material_of
    from sasrecf_tune.report.sections import (
        SELECTING_ON_TEST,
        confirmed_content,
        confirmed_markdown,
        test_markdown,
    )
    from sasrecf_tune.report.selection import pick

    if form == "html" and (filters or order):
        raise InputError(
            "the page holds all trials",
            where="--format html",
            fix="Leave out --filter and --sort: the page has both.",
        )
    if show_test and form in ("latex", "html"):
        raise InputError(
            "test metrics of the search's trials are in no table for a paper and on no page",
            where="--show-test",
            fix="Use --format table, csv, json or markdown; confirmed ones are in all of them.",
        )
    layout = find_study(out, name)
    settings, space = settings_from(layout)
    results = read_results(layout, settings, space, storage)
    material = material_of(layout, settings, space, results)
    tests = results.tests if show_test else None
    if show_test:
        screen(sys.stderr).print(SELECTING_ON_TEST, style="yellow", soft_wrap=True, highlight=False)
    if form == "html":
        _report_page(layout, material, output)
        return
    rows = pick(material.rows, space.names, filters, order)
    shown = rows[:top] if top else rows
    metric = str(settings.metric)
    metric_keys = tuple(material.manifest["data"]["metric_keys"])
    if form == "table":
        _report_table(layout, material, rows, shown, output, results, tests)
        return
    if form == "csv":
        text = ranking_csv(shown, space.names, metric_keys, tests)
    elif form == "markdown":
        text = ranking_markdown(shown, space.names, metric)
        text += test_markdown(shown, tests, metric_keys) + confirmed_markdown(material)
    elif form == "latex":
        text = ranking_latex(shown, material.varied, metric_keys, metric, layout.name, settings.dataset)
        if material.judged is not None:
            text += "\n" + confirmed_latex(*material.judged, material.varied, metric, settings.dataset)
    else:
        summary = {"study": layout.name, "metric": metric, "ended": len(material.rows)}
        text = ranking_json(shown, summary | confirmed_content(material), tests)
    _give(text, output)


def best_config(out: Path, name: str | None, storage: str | None, output: Path | None) -> None:
    """Print or write a RecBole config file of the best trial, or of the confirmed one.

    Raises:
        StudyNotFoundError: no trial has completed, or there is no such study.
    """
    from sasrecf_tune.best_config import chosen_yaml

    layout = find_study(out, name)
    settings, space = settings_from(layout)
    chosen = read_results(layout, settings, space, storage).chosen
    if chosen is None:
        raise StudyNotFoundError("no trial of this study has completed", where=layout.name)
    _give(chosen_yaml(chosen, settings, space), output)


def check_file(
    file: Path,
    dataset: str,
    data_path: Path | None,
    config_files: str,
    overrides: Sequence[str],
    syntax_only: bool,
    as_json: bool,
) -> None:
    """Say what a params file holds.

    Raises:
        InputError: what is wrong with it.
    """
    from sasrecf_tune.plan import searched_features

    space = read(file)
    check_space(space)
    base = {} if syntax_only else base_settings(space, data_path, dataset, config_files, overrides)
    counted = feasibility(space, base)
    facts: dict[str, Any] = {
        "file": str(file),
        "parameters": len(space),
        "configurations": counted.total,
        "possible": counted.feasible,
        "fingerprint": space.fingerprint,
        "impossible": [{"why": reason, "configurations": count} for reason, count in counted.reasons],
        "notes": list(space.notes),
    }
    if not syntax_only:
        data = locate(dataset, base.get("data_path"))
        # What RecBole takes where nothing is said; load_col of a data set it knows is in its own files.
        config = {name: known.default for name, known in TABLE.items()} | {"load_col": None} | base
        item = check_columns(data, config, searched_features(space) or tuple(config["selected_features"]))
        facts |= {"dataset": dataset, "item_columns": list(item)}
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    console = screen()
    total = counted.total
    size = "infinitely many" if total is None else f"{total:,}"
    plural = "s" if total != 1 else ""
    console.print(
        f"{file}: {size} configuration{plural} of {len(space)} parameters", highlight=False, soft_wrap=True
    )
    for reason, count in counted.reasons:
        console.print(
            f"{counted.number(count)} of them cannot exist and are never run: {reason}",
            highlight=False,
            soft_wrap=True,
        )
    if counted.feasible == 0:
        raise InputError("no configuration is left", where=str(file))
    for note in space.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    for parameter in space:
        console.print(f"  {parameter.write()}", highlight=False, soft_wrap=True, markup=False)


def list_studies(out: Path, as_json: bool) -> None:
    """Print the studies below `out`."""
    found = all_studies(out)
    rows: list[dict[str, Any]] = []
    for layout in found:
        try:
            manifest = read_manifest(layout)
        except StorageError as error:
            rows.append({"study": layout.name, "error": error.what})
            continue
        keys = ("dataset", "metric", "planned_trials", "updated")
        known = {"study": layout.name, "ended": trials_ended(layout.trials)}
        rows.append(known | {key: manifest.get(key) for key in keys})
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    console = screen()
    if not rows:
        console.print(f"no studies in {out}", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for header in ("study", "dataset", "metric", "trials ended", "updated"):
        table.add_column(header)
    for row in rows:
        if "error" in row:
            table.add_row(row["study"], row["error"])
            continue
        ended = "?" if row["ended"] is None else row["ended"]
        updated = str(row["updated"]).replace("T", " ").replace("+00:00", " UTC")
        trials = f"{ended} of {row['planned_trials']}"
        table.add_row(row["study"], str(row["dataset"]), str(row["metric"]), trials, updated)
    print_table(console, table)


def _report_table(
    layout: Layout,
    material: Material,
    rows: Sequence[Row],
    shown: Sequence[Row],
    output: Path | None,
    results: Results,
    tests: Mapping[int, Mapping[str, float]] | None,
) -> None:
    from sasrecf_tune.report.sections import show_confirmed, show_tests
    from sasrecf_tune.report.terminal import show_report

    def render(console: Console) -> None:
        show_report(material, rows, shown, console)
        if tests is not None:
            show_tests(shown, tests, console)
        show_confirmed(material, results, layout, console)

    if output is None:
        render(screen())
        return
    text = io.StringIO()
    render(screen(text))
    _give(text.getvalue(), output)


def _report_page(layout: Layout, material: Material, output: Path | None) -> None:
    from sasrecf_tune.report.page import page

    path = layout.report if output is None else output.absolute()
    _give(page(material), path)
    screen().print(str(path), highlight=False, markup=False, soft_wrap=True)


def _give(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        make_directory(output.absolute().parent)
        atomic_write(output.absolute(), text)
