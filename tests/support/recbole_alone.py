"""RecBole itself, in a process of its own, without sasrecf-tune."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sasrecf_tune.environment import OWN_RAY

# Where RecBole alone cannot run, it runs with the shims of engine/recbole_shims.py.
HELPED = """
from types import ModuleType
from sasrecf_tune.engine.recbole_shims import patch_pandas_3, numpy_1_names

sys.modules["ray"] = ModuleType("ray")
sys.modules["ray"].tune = None
patch_pandas_3()
with numpy_1_names():
    run_all()
"""

DIRECT = """
import json, sys
sys.argv = sys.argv[:1]

def run_all():
    from recbole.quick_start import run_recbole

    for arguments in json.loads({calls!r}):
        result = run_recbole(saved=False, **arguments)
        values = [result["best_valid_score"], dict(result["best_valid_result"]), dict(result["test_result"])]
        print("RESULT " + json.dumps(values))

{run}
"""


def recbole_itself(cwd: Path, calls: list[dict[str, Any]]) -> list[Any]:
    """What RecBole's own `run_recbole` gives for each call's arguments, in a process of its own."""
    # RecBole needs a part of its own Ray, which today's Ray has in another package.
    alone = sys.version_info[:2] < OWN_RAY and importlib.util.find_spec("ray") is not None
    script = DIRECT.format(calls=json.dumps(calls), run="run_all()" if alone else HELPED)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]
