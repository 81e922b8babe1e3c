"""The trials of a search as text: CSV, JSON, Markdown, and RecBole's hyper.result."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.choice_text import PREDICTED, has_predictions, predicted_text
from sasrecf_tune.report.text import csv_line, json_text, markdown_table, parameter_cells
from sasrecf_tune.storage.files import read_own
from sasrecf_tune.trials import Row, State, TrialRecord

_BEFORE = ("number", "state")
# Not "epochs" and "seed": parameters may have these names, and a column must have one of its own.
_AFTER = ("trial_seed", "trained_epochs", "best_epoch", "seconds")


def trials_header(names: Sequence[str], metric_keys: Sequence[str]) -> str:
    """Return the first line of trials.csv: parameters by name, metrics as `valid mrr@10`."""
    valid = (f"valid {key}" for key in metric_keys)
    return csv_line([*_BEFORE, *names, *_AFTER, *valid, "error", "imported"])


def trials_row(record: TrialRecord, names: Sequence[str], metric_keys: Sequence[str]) -> str:
    """Return one line of trials.csv."""
    return csv_line(
        [
            record.number,
            record.state,
            *parameter_cells(record.params, names),
            record.seed,
            record.epochs,
            record.best_epoch,
            round(record.seconds, 3),
            *(record.valid.get(key, "") for key in metric_keys),
            record.error,
            record.imported,
        ]
    )


def trials_ended(path: Path) -> int | None:
    """Count the trials in a trials.csv, None if it cannot be read."""
    try:
        lines = io.StringIO(read_own(path), newline="")
        return max(0, sum(1 for row in csv.reader(lines) if row) - 1)
    except (OSError, ValueError, csv.Error):
        return None


def ranking_csv(
    rows: Sequence[Row],
    names: Sequence[str],
    metric_keys: Sequence[str],
    tests: Mapping[int, Mapping[str, float]] | None = None,
) -> str:
    """Return the ranking as CSV.

    Columns: `rank`, those of trials.csv, the predicted score and its standard deviation, test metrics.
    """
    lines = ["rank," + trials_header(names, metric_keys)]
    lines += [f"{row.rank or ''}," + trials_row(row.record, names, metric_keys) for row in rows]
    cells: list[list[object]] = [["predicted", "predicted_sd"]]
    cells += [list(_predicted(row.record).values()) for row in rows]
    if tests is not None:
        cells[0] += [f"test {key}" for key in metric_keys]
        for row, more in zip(rows, cells[1:], strict=True):
            more += [tests.get(row.record.number, {}).get(key, "") for key in metric_keys]
    return "".join(f"{line[:-1]},{csv_line(more)}" for line, more in zip(lines, cells, strict=True))


def ranking_json(
    rows: Sequence[Row], summary: Mapping[str, Any], tests: Mapping[int, Mapping[str, float]] | None = None
) -> str:
    """Return the keys of `summary` and a list `trials`; numbers that are not finite are null."""
    trials = [
        {
            "rank": row.rank,
            "number": row.record.number,
            "state": row.record.state,
            "score": row.record.score,
            "params": row.record.params,
            "seed": row.record.seed,
            "epochs": row.record.epochs,
            "best_epoch": row.record.best_epoch,
            "seconds": row.record.seconds,
            "valid": row.record.valid,
            "error": row.record.error or None,
            "imported": row.record.imported or None,
            **_predicted(row.record),
        }
        | ({} if tests is None else {"test": tests.get(row.record.number)})
        for row in rows
    ]
    return json_text({**summary, "trials": trials}, indent=2) + "\n"


def ranking_markdown(rows: Sequence[Row], names: Sequence[str], metric: Metric, why: str = "") -> str:
    """Return the ranking as a Markdown table; `why` the first is not the one with the best score is below."""
    predicted = [PREDICTED] if has_predictions(rows) else []
    header = [
        "rank",
        str(metric),
        *predicted,
        "trial",
        "state",
        "trained epochs",
        "best epoch",
        "seconds",
        *names,
    ]
    cells = [
        [
            str(row.rank or ""),
            metric.text(row.record.score),
            *(predicted_text(row.record, metric) for _ in predicted),
            str(row.record.number),
            row.record.state_text,
            str(row.record.epochs),
            str(row.record.best_epoch or ""),
            f"{row.record.seconds:.0f}",
            *parameter_cells(row.record.params, names),
        ]
        for row in rows
    ]
    first = header.index("state")
    table = markdown_table(header, cells, left=[first, *range(first + 4, len(header))])
    return f"{table}\n{why}\n" if why else table


def _predicted(record: TrialRecord) -> dict[str, float | None]:
    found = record.predicted
    return {
        "predicted": None if found is None else found.mean,
        "predicted_sd": None if found is None else found.deviation,
    }


def hyper_result(
    records: Sequence[TrialRecord], tests: Mapping[int, Mapping[str, float]], names: Sequence[str]
) -> str:
    """Return the completed trials, by number, in the format of RecBole's hyper.result.

    Source:
        recbole/trainer/hyper_tuning.py, `HyperTuning.export_result`.
    """
    return "".join(
        ", ".join(f"{name}:{record.params[name]}" for name in names)
        + f"\nValid result:\n{_result_line(record.valid)}"
        + f"\nTest result:\n{_result_line(tests.get(record.number, {}))}\n\n"
        for record in records
        if record.state == State.COMPLETE
    )


def _result_line(metrics: Mapping[str, float]) -> str:
    return "    ".join(f"{key} : {value}" for key, value in metrics.items())
