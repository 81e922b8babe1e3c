"""Run `check` on generated files and build what it accepts: python -m benchmarks.robustness.fuzz --help."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import hypothesis
import hypothesis.configuration
import typer
from typer.main import get_command

from sasrecf_tune.cli.app import app as command_line
from sasrecf_tune.cli.build_settings import read_config, run_settings
from sasrecf_tune.cli.session import check_settings
from sasrecf_tune.errors import TuneError
from sasrecf_tune.inputs.constraints import violations
from sasrecf_tune.inputs.params_file import read
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import Engine
from sasrecf_tune.messages import Config, Describe, Measure
from sasrecf_tune.search.plan import first_configuration, searched_features, trial_config
from tests.support.fuzz_cases import Case, cases
from tests.support.synthetic_data import NAME, write_data_set

ENGINES: tuple[Engine, ...] = ("fast", "recbole")
# Larger models are slow to build.
MOST_WEIGHTS = 2_000_000
LONGEST_HISTORY = 100

# Settings for the made-up data set, and a small model; generated settings override them.
BASE = "selected_features: [colour]\nload_col: null\nhidden_size: 16\ninner_size: 16\nn_layers: 1\n"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass
class Report:
    """Counts of all cases; `tracebacks` must stay empty."""

    generated: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    built: int = 0
    refused_by_data: int = 0
    too_large: int = 0
    diverged: int = 0
    tracebacks: list[str] = field(default_factory=list)


class Fuzzer:
    """Runs cases in `scratch` on the made-up data set; builds `builds` of the accepted ones."""

    def __init__(self, scratch: Path, builds: int, seed: int) -> None:
        self.report = Report()
        self._files = scratch / "files"
        self._work = scratch / "work"
        for directory in (self._files, self._work):
            directory.mkdir()
        (self._files / "base.yaml").write_text(BASE)
        self._data = write_data_set(scratch)
        self._builds = builds
        self._command = get_command(command_line)
        self._random = random.Random(seed)
        self._runner: Any = None

    def run(self, case: Case) -> None:
        """Run one case: it must exit with 0, or with 2 and a message, and write nothing."""
        report = self.report
        report.generated += 1
        options = self._write(case)
        started = time.perf_counter()
        error, output = self._check([str(self._files / "hyper.test"), *options])
        report.slowest = max(report.slowest, time.perf_counter() - started)
        if error is None:
            report.accepted += 1
        elif _is_refusal(error, output):
            report.refused += 1
        else:
            self._note(case, "check", error)
        if left := list(self._work.iterdir()):
            self._note(case, f"wrote {left}", None)
        if error is None and case.dataset == NAME and report.built < self._builds:
            self._build(case)

    def _check(self, arguments: list[str]) -> tuple[BaseException | None, str]:
        """Return what `check` raises, errors of Typer included, and what it prints."""
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = self._command.main(
                    ["check", *arguments], prog_name="sasrecf-tune", standalone_mode=False
                )
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the caller decides
            return error, output.getvalue()
        return (SystemExit(code) if code else None), output.getvalue()

    def _write(self, case: Case) -> list[str]:
        (self._files / "hyper.test").write_bytes(case.params)
        options = [f"--set={text}" for text in case.sets]
        self._configs = [self._files / "base.yaml"] if case.dataset == NAME else []
        if case.config is not None:
            (self._files / "config.yaml").write_bytes(case.config)
            self._configs.append(self._files / "config.yaml")
        options += ["--config-files", " ".join(map(str, self._configs))]
        if not case.dataset:
            return [*options, "--syntax-only"]
        return [*options, "--dataset", case.dataset, *self._data_path(case)]

    def _data_path(self, case: Case) -> list[str]:
        return ["--data-path", str(self._data)] if case.dataset == NAME else []

    def _build(self, case: Case) -> None:
        """Run the first steps and the first validation of a trial, with both engines."""
        for engine in ENGINES:
            try:
                self._first_steps(case, engine)
            except TuneError as error:
                if error.exit_code != 2:
                    self._note(case, f"build {engine}", error)
                self.report.refused_by_data += 1
                return
            except Exception as error:  # noqa: BLE001  # any error is a finding
                if "nan" in str(error):  # an extreme configuration diverges, which is no fault
                    self.report.diverged += 1
                    return
                self._note(case, f"build {engine}", error)
                return

    def _first_steps(self, case: Case, engine: Engine) -> None:
        space = read(self._files / "hyper.test")
        options = {
            "params-file": self._files / "hyper.test",
            "dataset": case.dataset,
            "data-path": self._data,
            "config-files": " ".join(map(str, self._configs)),
            "model": "SASRecF",
            "out": self._work,
            "gpus": "none",
            "engine": engine,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command: Any = self._command
        context = command.commands["run"].make_context(
            "run", arguments + [f"--set={text}" for text in case.sets]
        )
        given = context.params
        for option in ("dry_run", "as_json", "fresh", "yes"):
            del given[option]
        settings = run_settings(space, read_config(given), given)
        base = check_settings(settings, space)
        first = first_configuration(space, base) | {"seed": settings.seed}
        if too_large(first):
            self.report.too_large += 1
            return
        runner = self._started_runner()
        with quiet():
            runner.describe(Describe(first, engine, searched_features(space)))
            config = self._some_cell(space, base, settings.seed)
            if config is None or too_large(config):
                self.report.too_large += 1
                return
            try:
                runner.measure(Measure(config | {"checkpoint_dir": str(self._files)}, engine, 1))
            except TuneError as error:  # too late: the trial has started
                raise RuntimeError(f"a trial failed: {error}") from error
        self.report.built += engine == ENGINES[-1]

    def _started_runner(self) -> Any:
        if self._runner is None:
            from sasrecf_tune.training.runner import Runner

            self._runner = Runner("")
        return self._runner

    def _some_cell(self, space: SearchSpace, base: Config, seed: int) -> Config | None:
        for _ in range(20):
            params: dict[str, Any] = {}
            for parameter in space:
                if parameter.size is not None:
                    values = parameter.values
                    params[parameter.name] = values[self._random.randrange(len(values))]
                else:
                    ends = [
                        getattr(parameter, f"real_{end}", getattr(parameter, end)) for end in ("low", "high")
                    ]
                    params[parameter.name] = self._random.uniform(*ends)
            config = trial_config(base, params, seed)
            if not violations(config):
                return config
        return None

    def _note(self, case: Case, where: str, error: BaseException | None) -> None:
        text = "".join(traceback.format_exception(error)[-3:]) if error else ""
        self.report.tracebacks.append(f"{where}: {case!r}\n{text}")
        print(self.report.tracebacks[-1], file=sys.stderr, flush=True)


def _is_refusal(error: BaseException, output: str) -> bool:
    if isinstance(error, SystemExit):
        return error.code == 2 and bool(output)
    # An error of sasrecf-tune or Typer; both have an exit code.
    return getattr(error, "exit_code", None) == 2 and bool(str(error))


def too_large(config: Config) -> bool:
    """Return whether the model takes long to build."""
    hidden, inner = config.get("hidden_size", 64), config.get("inner_size", 256)
    weights = config.get("n_layers", 2) * (4 * hidden**2 + 2 * hidden * inner)
    return bool(weights > MOST_WEIGHTS or config.get("MAX_ITEM_LIST_LENGTH", 50) > LONGEST_HISTORY)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide RecBole's log and the warnings of its libraries."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@app.command()
def main(
    examples: Annotated[int, typer.Option(min=1, help="Number of cases to generate.")] = 10_000,
    builds: Annotated[int, typer.Option(min=0, help="Number of accepted cases to build and train.")] = 200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Print the counts as JSON; the exit code is 1 if there is a traceback."""
    started = time.perf_counter()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        # Hypothesis writes a cache of Unicode data into the working directory.
        hypothesis.configuration.set_hypothesis_home_dir(Path(scratch) / "hypothesis")
        fuzzer = Fuzzer(Path(scratch), builds, seed)
        os.chdir(Path(scratch) / "work")

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(cases)
        def each(case: Case) -> None:
            fuzzer.run(case)

        try:
            each()
        finally:
            os.chdir(before)
    report = fuzzer.report
    print(
        json.dumps(
            {
                "generated": report.generated,
                "accepted": report.accepted,
                "refused": report.refused,
                "tracebacks": len(report.tracebacks),
                "slowest_seconds": round(report.slowest, 3),
                "built": report.built,
                "refused_by_data": report.refused_by_data,
                "too_large_to_build": report.too_large,
                "diverged": report.diverged,
                "seconds": round(time.perf_counter() - started, 1),
                "seed": seed,
            },
            indent=2,
        )
    )
    raise typer.Exit(1 if report.tracebacks else 0)


if __name__ == "__main__":
    app()
