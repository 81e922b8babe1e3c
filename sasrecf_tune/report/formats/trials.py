"""Results as text: CSV, JSON, Markdown, RecBole's hyper.result, and a config file of the best trial."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sasrecf_tune.inputs.config_files import write_config
from sasrecf_tune.trials import Row, State, TrialRecord, cell_text, score_text

_BEFORE = ("number", "state")
# Not "epochs" and "seed": parameters may have these names, and a column must have one of its own.
_AFTER = ("trial_seed", "trained_epochs", "best_epoch", "seconds")


def trials_header(names: Sequence[str], metric_keys: Sequence[str]) -> str:
    """The first line of trials.csv: parameters by name, metrics as `valid mrr@10`."""
    return csv_line([*_BEFORE, *names, *_AFTER, *(f"valid {key}" for key in metric_keys), "error"])


def trials_row(record: TrialRecord, names: Sequence[str], metric_keys: Sequence[str]) -> str:
    """One line of trials.csv."""
    return csv_line(
        [
            record.number,
            record.state,
            *(cell_text(record.params.get(name)) if name in record.params else "" for name in names),
            record.seed,
            record.epochs,
            record.best_epoch,
            round(record.seconds, 3),
            *(record.valid.get(key, "") for key in metric_keys),
            record.error,
        ]
    )


def trials_ended(path: Path) -> int | None:
    """How many trials a trials.csv holds, None where it cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return max(0, sum(1 for row in csv.reader(file) if row) - 1)
    except (OSError, ValueError, csv.Error):
        return None


def ranking_csv(
    rows: Sequence[Row],
    names: Sequence[str],
    metric_keys: Sequence[str],
    tests: Mapping[int, Mapping[str, float]] | None = None,
) -> str:
    """trials.csv's columns in the order of the ranking, after a column `rank`; `tests`, if any, are last."""
    lines = ["rank," + trials_header(names, metric_keys)]
    lines += [f"{row.rank or ''}," + trials_row(row.record, names, metric_keys) for row in rows]
    if tests is None:
        return "".join(lines)
    cells = [[f"test {key}" for key in metric_keys]]
    cells += [[str(tests.get(row.record.number, {}).get(key, "")) for key in metric_keys] for row in rows]
    return "".join(f"{line[:-1]},{csv_line(more)}" for line, more in zip(lines, cells, strict=True))


def ranking_json(
    rows: Sequence[Row], summary: Mapping[str, Any], tests: Mapping[int, Mapping[str, float]] | None = None
) -> str:
    """`summary`'s keys and a list `trials`, with test metrics if given; what is not finite becomes null."""
    trials = [
        {
            "rank": row.rank,
            "number": row.record.number,
            "state": row.record.state,
            "score": _finite(row.record.score),
            "params": row.record.params,
            "seed": row.record.seed,
            "epochs": row.record.epochs,
            "best_epoch": row.record.best_epoch,
            "seconds": row.record.seconds,
            "valid": {key: _finite(value) for key, value in row.record.valid.items()},
            "error": row.record.error or None,
        }
        | ({} if tests is None else {"test": tests.get(row.record.number)})
        for row in rows
    ]
    return json.dumps({**summary, "trials": trials}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def ranking_markdown(rows: Sequence[Row], names: Sequence[str], metric: str) -> str:
    """A Markdown table."""
    header = ["rank", metric, "trial", "state", "trained epochs", "best epoch", "seconds", *names]
    lines = [
        markdown_line(header),
        markdown_line(["---:"] * 3 + ["---"] + ["---:"] * 3 + ["---"] * len(names)),
    ]
    for row in rows:
        record = row.record
        lines.append(
            markdown_line(
                [
                    str(row.rank or ""),
                    score_text(record.score),
                    str(record.number),
                    record.state,
                    str(record.epochs),
                    str(record.best_epoch or ""),
                    f"{record.seconds:.0f}",
                    *(cell_text(record.params[name]) if name in record.params else "" for name in names),
                ]
            )
        )
    return "".join(lines)


def hyper_result(
    records: Sequence[TrialRecord], tests: Mapping[int, Mapping[str, float]], names: Sequence[str]
) -> str:
    """RecBole's export (recbole/trainer/hyper_tuning.py, export_result), completed trials by number."""
    return "".join(
        ", ".join(f"{name}:{record.params[name]}" for name in names)
        + f"\nValid result:\n{_result_line(record.valid)}"
        + f"\nTest result:\n{_result_line(tests.get(record.number, {}))}\n\n"
        for record in records
        if record.state == State.COMPLETE
    )


def best_yaml(
    config: Mapping[str, Any], record: TrialRecord, metric: str, study: str, engine: str, confirmed: str = ""
) -> str:
    """A RecBole config file of what `engine` trained with `config`: a trial, or the run of a confirmation.

    `confirmed` says how that was chosen.
    """
    score = f"{score_text(record.score)} at epoch {record.best_epoch} of {record.epochs}"
    what = confirmed or f"trial {record.number} of the study {study}: best validation {metric}"
    header = (
        f"{config['model']}, {what} {score}.\n\n"
        "    from recbole.quick_start import run_recbole\n"
        "    run_recbole(config_file_list=['best.yaml'], saved=False)\n\n"
        "saved=False because RecBole 1.2.1 cannot load its own checkpoints with torch 2.6 or later."
    )
    if engine == "fast":
        header += (
            "\nThe engine `fast` trained it. RecBole's own trainer drops other elements for the same seed,\n"
            "so its scores differ from these as those of another seed do; without dropout they are the same."
        )
    return write_config(config, header)


def reproducing(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it must stand in a file that is used from another directory."""
    if config.get("data_path"):
        return {**config, "data_path": str(Path(str(config["data_path"])).absolute())}
    return dict(config)


def _result_line(metrics: Mapping[str, float]) -> str:
    return "    ".join(f"{key} : {value}" for key, value in metrics.items())


def csv_line(cells: Sequence[object]) -> str:
    """One line of a CSV file; nothing for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def markdown_line(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
