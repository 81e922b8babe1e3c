"""Runs one check: python -m benchmarks.gpu_checks.check NAME; its setting is JSON on standard input.

It is a process of its own, so that a check that breaks the GPU's context, takes all of its memory or does not
end has no effect on the others.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module

from benchmarks.gpu_checks.catalog import CHECKS
from benchmarks.gpu_checks.setting import CheckSetting, Finding


def main() -> None:
    """Print what the check found as JSON, the only line on standard output."""
    output = os.dup(1)
    os.dup2(2, 1)
    setting = CheckSetting(**json.load(sys.stdin))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    module, _, name = CHECKS[sys.argv[1]].function.partition(":")
    check: Callable[[CheckSetting], Finding] = getattr(import_module(f"benchmarks.gpu_checks.{module}"), name)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # RecBole makes directories
        found = check(setting)
    os.write(output, (json.dumps(vars(found)) + "\n").encode())


if __name__ == "__main__":
    main()
