"""What a piece of code imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def loaded_after(code: str, cwd: Path) -> set[str]:
    """Top-level modules in sys.modules after running `code` in a new process."""
    script = (
        f"import sys, json\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
