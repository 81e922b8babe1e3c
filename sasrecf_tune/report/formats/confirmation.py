"""A confirmation as text: CSV, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sasrecf_tune.analysis.confirmation import (
    ALPHA,
    Confirmation,
    Estimate,
    Verdict,
    on_test,
    on_validation,
    without_seed,
)
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.confirmation_text import heading, interval_text, note, p_text, sentences
from sasrecf_tune.report.text import csv_line, markdown_table, parameter_cells
from sasrecf_tune.trials import TrialRecord


def confirmation_csv(
    runs: Iterable[tuple[int | None, TrialRecord]],
    tests: Mapping[int, Mapping[str, float]],
    names: Sequence[str],
    metric_keys: Sequence[str],
) -> str:
    """Return a row for each (trial, run); `tests` are by the number of the run."""
    names = [name for name in names if name != "seed"]
    header = ["run", "trial", "seed", "state", *names, "trained_epochs", "best_epoch", "seconds"]
    header += [f"{part} {key}" for part in ("valid", "test") for key in metric_keys]
    lines = [csv_line([*header, "error"])]
    for trial, record in runs:
        values = parameter_cells(record.params, names)
        measured: list[object] = [record.epochs, record.best_epoch, round(record.seconds, 3)]
        measured += [record.valid.get(key, "") for key in metric_keys]
        measured += [tests.get(record.number, {}).get(key, "") for key in metric_keys]
        seed = record.params.get("seed")
        lines.append(csv_line([record.number, trial, seed, record.state, *values, *measured, record.error]))
    return "".join(lines)


def confirmation_markdown(
    confirmation: Confirmation, verdict: Verdict, names: Sequence[str], metric: Metric
) -> str:
    """Return the result in sentences, the places, and all metrics of each."""
    names = [name for name in names if name != "seed"]
    parts = [f"{heading(confirmation, str(metric))}.\n\n"]
    parts += ["".join(f"{sentence}\n" for sentence in sentences(confirmation, verdict))]
    rows = [
        [
            str(rank),
            str(place.trial),
            interval_text(place.score, metric),
            metric.text(place.score.sd),
            p_text(verdict.p(place)),
            f"{place.seconds:.0f}",
            *parameter_cells(confirmation.configurations[place.trial], names),
        ]
        for rank, place in enumerate(verdict.places, start=1)
    ]
    parts += [
        "\n",
        markdown_table(["rank", "trial", f"valid {metric}", "sd", "p", "seconds per run", *names], rows),
    ]
    parts.append(f"\n{note(verdict)}\n")
    for title, metrics_of in (("Validation", on_validation), ("Test", on_test)):
        by_trial = {place.trial: metrics_of(confirmation, verdict, place.trial) for place in verdict.places}
        keys = list(next(iter(by_trial.values()), {}))
        if keys:
            cells = [
                [str(trial), *(_with_sd(metrics[key], metric) if key in metrics else "-" for key in keys)]
                for trial, metrics in by_trial.items()
            ]
            parts += [f"\n{title}, mean ± 95% interval (sd):\n\n", markdown_table(["trial", *keys], cells)]
    return "".join(parts)


def confirmation_content(confirmation: Confirmation, verdict: Verdict) -> dict[str, Any]:
    """Return the confirmation for JSON."""
    return {
        "trials": list(confirmation.configurations),
        "seeds": list(confirmation.seeds),
        "complete": confirmation.complete,
        "test": "Tukey's HSD, seeds as blocks",
        "alpha": ALPHA,
        "compared_on": list(verdict.seeds),
        "not_compared": list(verdict.unreliable),
        "tied": [place.trial for place in verdict.places if place.tied] if verdict.tested else [],
        "sentences": sentences(confirmation, verdict),
        "configurations": [
            {
                "rank": rank,
                "trial": place.trial,
                "params": dict(confirmation.configurations[place.trial]),
                "score": estimate_content(place.score),
                "p": verdict.p(place),
                "seconds": round(place.seconds, 3),
                "valid": _estimates(on_validation(confirmation, verdict, place.trial)),
                "test": _estimates(on_test(confirmation, verdict, place.trial)),
            }
            for rank, place in enumerate(verdict.places, start=1)
        ],
        "runs": [
            {
                "run": record.number,
                "trial": trial,
                "seed": seed,
                "state": record.state,
                "epochs": record.epochs,
                "seconds": record.seconds,
                "valid": dict(record.valid),
                "test": dict(confirmation.tests.get((trial, seed), {})),
                "error": record.error or None,
            }
            for (trial, seed), record in sorted(confirmation.runs.items())
        ],
    }


def all_runs(
    runs: Iterable[TrialRecord], latest: Confirmation, trials: Iterable[TrialRecord]
) -> list[tuple[int | None, TrialRecord]]:
    """Pair each run with the number of the trial whose configuration it has.

    Args:
        runs: Runs of all confirmations, also those that the latest no longer includes.
        latest: The confirmation that was planned last.
        trials: Trials of the search.

    Returns:
        Pairs in the order of trial and seed. The number is None, and the pair at the end, where another run
        of the study confirms a trial that is not among `trials` yet.
    """
    known: list[tuple[int, Mapping[str, Any]]] = [*latest.configurations.items()]
    known += [(trial.number, without_seed(trial.params)) for trial in trials]
    pairs = [
        (next((number for number, params in known if params == without_seed(run.params)), None), run)
        for run in runs
        if run.params
    ]
    return sorted(pairs, key=lambda pair: (pair[0] is None, pair[0] or 0, pair[1].params["seed"]))


def _with_sd(estimate: Estimate, metric: Metric) -> str:
    return f"{interval_text(estimate, metric)} ({metric.text(estimate.sd)})"


def estimate_content(estimate: Estimate) -> dict[str, float | None]:
    """Return `estimate` for JSON."""
    return {"mean": estimate.mean, "sd": estimate.sd, "half_interval": estimate.half_interval}


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {key: estimate_content(value) for key, value in estimates.items()}
