"""What differs between Ray 2.6.3, which RecBole requires, and today's Ray."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import WorkerError

_AUTOSCALER_SECONDS = 30
_SETTINGS = {
    # Do not send usage statistics to Ray's developers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Today's Ray would send the working directory to the nodes and have uv install it there, if this process
    # was started by `uv run`. The nodes have their own installations, whose versions are compared.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
# Of a node that the autoscaler of today's Ray, KubeRay or Spark has started.
_NODE_GROUP = "ray.io/node-group"


def import_ray() -> Any:
    """Import Ray.

    Raises:
        WorkerError: It is not installed, or cannot be imported.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray 2.6.3 uses a deprecated part of setuptools
            import ray
    except ImportError as error:
        reason = " ".join(str(error).split())[:500]
        fix = f"Install it: {install_command(extra='ray')}"
        raise WorkerError(f"cannot import Ray: {reason}", where="--executor ray", fix=fix) from error
    # Today's Ray prints its messages about lost workers to stdout, which the events of --json have.
    ray._private.worker._worker_logs_enabled = False
    return ray


def token_advice() -> str:
    """Return what to do about a cluster that requires a token, which only today's Ray can do."""
    if not hasattr(import_ray().exceptions, "AuthenticationError"):
        return ""
    return " If the cluster requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its nodes."


def has_autoscaler() -> bool:
    """Return whether the cluster starts nodes on demand."""
    ray = import_ray()
    from ray.experimental.internal_kv import _internal_kv_get

    until = time.monotonic() + _AUTOSCALER_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(Exception):  # the report is missing until the autoscaler has started
            answer = are_started_on_demand(ray.nodes(), _internal_kv_get(b"__autoscaling_status"))
            if answer is not None:
                return answer
        time.sleep(1)
    return False


def are_started_on_demand(nodes: Sequence[Mapping[str, Any]], report: bytes | None) -> bool | None:
    """Return whether an autoscaler has started these nodes; None if that is not known yet.

    Args:
        nodes: Ray's description of the nodes.
        report: What the first autoscaler writes, which was the only one until 2.6.3. The second one writes
            none, but its nodes have a label.
    """
    if any(node.get("Labels", {}).get(_NODE_GROUP) for node in nodes if node["Alive"]):
        return True
    active = json.loads(report)["autoscaler_report"]["active_nodes"] if report else {}
    # A node that was started by hand has a type of its own (autoscaler/_private/readonly).
    return any(not name.startswith("node_") for name in active) if active else None
