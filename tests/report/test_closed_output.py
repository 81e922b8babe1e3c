"""Standard output that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sasrecf_tune.report.terminal import closed_output
from tests.support.known_studies import NAME, plant

PRINTING = """
import sys
from sasrecf_tune.report.terminal.closed_output import allow_closed_output
from sasrecf_tune.report.terminal.encoding import allow_any_text
allow_closed_output()
allow_any_text()
sys.stdin.read()
for number in range(3):
    print(number, "\\u2501" * 99999, flush=True)
open(sys.argv[1], "w").write("went on")
"""


def run_without_reader(command: list[str]) -> tuple[int, str]:
    """Run a command whose standard output is a pipe without a reader; returns the exit code and stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, input="", timeout=60, check=False
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


def test_a_command_goes_on_when_the_reader_of_its_output_leaves(tmp_path: Path) -> None:
    code, said = run_without_reader([sys.executable, "-c", PRINTING, str(tmp_path / "done")])
    assert (code, said) == (0, closed_output._CLOSED)
    assert (tmp_path / "done").read_text() == "went on"


def test_a_command_goes_on_when_its_output_is_closed_from_the_start(tmp_path: Path) -> None:
    code = f"exec {sys.executable} -c '{PRINTING}' {tmp_path / 'done'} >&-"
    done = subprocess.run(["sh", "-c", code], input="", stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, closed_output._CLOSED)
    # The file that was opened is not the one that was printed to.
    assert (tmp_path / "done").read_text() == "went on"


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_report_without_a_reader_is_no_error(tmp_path: Path, form: str) -> None:
    plant(tmp_path, 3)
    command = [sys.executable, "-m", "sasrecf_tune", "report", NAME, "--out", str(tmp_path), "--format", form]
    assert run_without_reader(command) == (0, closed_output._CLOSED)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_command_goes_on_when_its_terminal_closes_without_a_signal(tmp_path: Path, closed: str) -> None:
    """As after `run & disown; exit`."""
    ours, terminal = os.openpty()
    out, err = (terminal if closed == name else subprocess.PIPE for name in ("stdout", "stderr"))
    code = PRINTING + "print('on standard error', file=sys.stderr, flush=True)\n"
    command = [sys.executable, "-c", code, str(tmp_path / "done")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, start_new_session=True
    ) as process:
        os.close(terminal)
        os.close(ours)
        said = process.communicate("", timeout=60)
    assert (process.returncode, (tmp_path / "done").read_text()) == (0, "went on")
    if closed == "stdout":
        assert said[1] == closed_output._CLOSED + "on standard error\n"
