"""Names of this process and its machine, what is installed, and what to install on this Python."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version

# Makes torch compute matrix products with ten bits of each number, whatever a program sets; images of NVIDIA
# set it. Workers remove it.
TF32_OVERRIDE = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"


def process_name() -> str:
    """Return a name of this process that is valid in a file name: its machine and process id."""
    return f"{host_name()}-{os.getpid()}"


def host_name() -> str:
    """Return a name of this machine that is valid in a file name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", platform.node())[:60] or "host"


def installed_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# Ray 2.6.3, which RecBole 1.2.1 requires, has no build from here on; clusters use today's Ray there.
OWN_RAY = (3, 12)
# The newest tested Python.
NEWEST = (3, 13)


def ray_versions(python: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the versions of Ray that clusters may use with this Python; pyproject.toml has them too."""
    return ">=2.60,<3" if python >= OWN_RAY else ">=2.6,<=2.6.3"


def install_command(python: tuple[int, int] = sys.version_info[:2], extra: str = "") -> str:
    """Return the command that installs the versions that were tested together; README has it too."""
    package = f"'.[{extra}]'" if extra else "."
    if python < OWN_RAY:
        return f"pip install -c constraints.txt {package}"
    return f"pip install -c constraints-new.txt {package} && pip install --no-deps recbole==1.2.1"
