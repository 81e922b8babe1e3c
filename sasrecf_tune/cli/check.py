"""`sasrecf-tune check`: everything that `run` does before the first trial, without a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.analysis.earlier_work import EarlierWork
from sasrecf_tune.cli.build_settings import read_inputs, run_settings
from sasrecf_tune.cli.options import default_options
from sasrecf_tune.cli.session import Display, check_inputs, open_scratch, prepare_data
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.inputs.constraints import Feasibility, feasibility
from sasrecf_tune.inputs.hyperparameters import SASRECF
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.validation import check_model
from sasrecf_tune.report.earlier_text import earlier_content, earlier_lines
from sasrecf_tune.report.terminal.console import make_console
from sasrecf_tune.report.text import count_text, json_text
from sasrecf_tune.search.plan import first_configuration, make_plan


def check_file(file: Path, given: Mapping[str, Any], syntax_only: bool, as_json: bool) -> None:
    """Check a params file, and the data set unless `syntax_only`, and print what the file contains.

    Args:
        given: The options of `run` that `check` has, by field.

    Raises:
        InputError: The file, an option or the data cannot be used, or no configuration is possible.
        InputErrors: Several mistakes.
    """
    from sasrecf_tune.search.earlier.sources import read_sources
    from sasrecf_tune.search.study_setup import with_earlier_work

    about_data: dict[str, Any] = {}
    earlier: Sequence[EarlierWork] = ()
    if syntax_only:
        model = check_model(given["model"] or SASRECF)
        space, _ = read_inputs(file, {**given, "config_files": (), "overrides": ()})
        first_configuration(space, {})  # raises if there is none
        counted, notes = feasibility(space, {}), space.notes
    else:
        options = default_options() | dict(given) | {"params_file": file, "gpus": ("",)}
        space, config = read_inputs(file, options)
        settings = run_settings(space, config, options)
        model = settings.model
        checked = check_inputs(settings, space)
        sources = read_sources(checked.settings)
        with open_scratch(checked.settings, Allocation()) as (executor, _):
            data = prepare_data(checked, space, executor, Display(make_console(), as_json=True))
        plan = make_plan(checked.settings, space, checked.base, data, Allocation())
        plan, _ = with_earlier_work(plan, sources)
        earlier = plan.earlier
        counted, notes = plan.feasibility, plan.notes
        about_data = {"dataset": settings.dataset, "item_columns": checked.item_columns}
        about_data |= {"earlier": earlier_content(earlier)}
    facts: dict[str, Any] = {
        "file": str(file),
        "model": model,
        "parameters": len(space),
        "configurations": counted.total,
        "possible": counted.feasible,
        "fingerprint": space.fingerprint,
        "impossible": [{"why": reason, "configurations": count} for reason, count in counted.reasons],
        "notes": notes,
    }
    if as_json:
        print(json_text(facts | about_data))
    else:
        _show(file, space, counted, notes, earlier)


def _show(
    file: Path,
    space: SearchSpace,
    counted: Feasibility,
    notes: Sequence[str],
    earlier: Sequence[EarlierWork],
) -> None:
    console = make_console()

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    total = counted.total
    size = "infinitely many configurations" if total is None else count_text(total, "configuration")
    line(f"{file}: {size} of {count_text(len(space), 'parameter')}")
    for reason, count in counted.reasons:
        line(f"not possible: {'some' if count is None else f'{count:,}'} of them ({reason})")
    for note in notes:
        line(f"note: {note}")
    for parameter in space:
        line(f"  {parameter.write()}")
    for text in (text for work in earlier for text in earlier_lines(work)):
        line(f"earlier: {text}")
