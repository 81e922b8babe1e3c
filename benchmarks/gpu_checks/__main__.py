"""Check the engine and searches on a GPU: is it right, where does it wait, what does a step cost?

python -m benchmarks.gpu_checks --help
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmarks.common import JsonFile, MarkdownFile, print_progress, start, write_output
from benchmarks.engine.datasets import ML_100K
from benchmarks.gpu import describe_machine
from benchmarks.gpu_checks.catalog import CHECKS
from benchmarks.gpu_checks.setting import CheckSetting, Finding
from sasrecf_tune.environment import TF32_OVERRIDE
from sasrecf_tune.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_ROOT = Path(__file__).resolve().parents[2]
# A check that has less time does not start.
_LEAST_SECONDS = 15.0
_WORDS = {True: "right", False: "WRONG", None: ""}


class Table:
    """The findings as a table in Markdown below the GPU's name, and as JSON, written after each check."""

    def __init__(self, report: dict[str, Any], json_file: Path | None, markdown: Path | None) -> None:
        self._report, self._json_file, self._markdown = report | {"checks": []}, json_file, markdown
        names = {"gpu": report["gpu"], "driver": report["driver"], "torch": report["torch"]}
        self._text = ", ".join(f"{name} {value}" for name, value in names.items() if value) + "\n\n"
        self._text += "| check | result | seconds | details |\n| --- | --- | --- | --- |\n"
        self._write(self._text)

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Add a row."""
        self._report["checks"].append({"check": name, "seconds": round(seconds, 1)} | vars(finding))
        row = f"| {name} | {_WORDS[finding.fine]} | {seconds:.0f} | {_details(finding.facts)} |\n"
        self._text += row
        self._write(row)

    def finish(self) -> None:
        """Print the JSON if it goes to the screen."""
        if self._json_file is None:
            write_output(self._json(), None)

    def _json(self) -> str:
        return json.dumps(self._report, indent=1) + "\n"

    def _write(self, added: str) -> None:
        if self._markdown is None:
            sys.stdout.write(added)
            sys.stdout.flush()
        else:
            self._markdown.write_text(self._text)
        if self._json_file is not None:
            self._json_file.write_text(self._json())


def _details(facts: dict[str, Any]) -> str:
    return json.dumps(facts)[1:-1].replace('"', "").replace("|", "/")


def run_check(name: str, setting: CheckSetting, seconds: float) -> Finding:
    """Run a check in a process of its own, and end it after `seconds`."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    # The variable turns TF32 on behind torch's back.
    environment = {key: value for key, value in os.environ.items() if key != TF32_OVERRIDE}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_checks.check", name],
        env=environment | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that its own processes end with it
    )
    try:
        output, errors = process.communicate(json.dumps(asdict(setting)), timeout=seconds)
    except subprocess.TimeoutExpired:
        return Finding(False, {"error": f"it did not end within {seconds:.0f} s"})
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = " ".join(errors.strip().splitlines()[-1:])
        return Finding(False, {"error": last[:300] or f"exit code {process.returncode}"})
    return Finding(**json.loads(output.splitlines()[-1]))


@app.command()
def main(
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu tests the checks.")] = "cuda",
    data: Annotated[str, typer.Option(metavar="DIR", help="ml-100k, or a data set's directory.")] = ML_100K,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = 2,
    fused: Annotated[int, typer.Option(min=2, help="Trials that are measured as one model.")] = 16,
    items: Annotated[int, typer.Option(min=100, help="Items of the generated data set.")] = 100_000,
    workers: Annotated[int, typer.Option(min=1, help="Workers that share a GPU that is almost full.")] = 4,
    seconds: Annotated[int, typer.Option(min=1, help="The command ends within this time.")] = 570,
    only: Annotated[
        list[str], typer.Option("--only", metavar="CHECK", help=f"Some checks of: {', '.join(CHECKS)}.")
    ] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting.")] = [],  # noqa: B006
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
) -> None:
    """Check and measure the engine and searches on a GPU; print a table under its name.

    Each check is a process of its own with a time limit, and is written when it has ended. The exit code is 1
    where a check finds something wrong, and 2 where torch sees no CUDA GPU.
    """
    began = time.monotonic()
    if unknown := set(only) - set(CHECKS):
        raise InputError(f"no such check: {', '.join(sorted(unknown))}", where="--only")
    setting = CheckSetting(device, str(_absolute(data)), layers, fused, items, workers, set_)
    setting.config()  # a wrong setting ends it before the first check
    table = Table(describe_machine(device) | asdict(setting), json_file, markdown)
    wrong = False
    for name, check in CHECKS.items():
        left = seconds - (time.monotonic() - began)
        if only and name not in only:
            continue
        if left < _LEAST_SECONDS:
            table.add(name, Finding(None, {"not run": "no time was left"}), 0.0)
            continue
        print_progress(name)
        started = time.monotonic()
        limit = check.seconds if device == "cuda" else left  # a CPU may be as slow as it likes
        finding = run_check(name, setting, min(left, limit))
        table.add(name, finding, time.monotonic() - started)
        wrong |= finding.fine is False
    table.finish()
    if wrong:
        raise typer.Exit(1)


def _absolute(data: str) -> str | Path:
    # Checks work in a directory of their own.
    return data if data == ML_100K else Path(data).resolve()


if __name__ == "__main__":
    start(app)
