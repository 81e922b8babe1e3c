"""A provider for Ray's autoscaler that starts nodes on this machine on demand and ends idle ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tests.support.ray_cluster import RayNode

HEAD, WORKER = "head", "worker"
# Nodes have the addresses 127.0.1.1 and so on, which other clusters do not use.
_NET = "127.0.1"


def config(idle_seconds: float, cpus: int, most: int) -> dict[str, Any]:
    """Return a configuration for up to `most` nodes with `cpus` CPUs; the head node has none."""
    return {
        "cluster_name": "growing",
        "max_workers": most,
        "upscaling_speed": most,
        "idle_timeout_minutes": idle_seconds / 60,
        "provider": {
            "type": "external",
            "module": f"{__name__}.Nodes",
            "cpus": cpus,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "foreground_node_launch": True,
        },
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            WORKER: {"resources": {"CPU": cpus}, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
        "head_node_type": HEAD,
        "auth": {},
        "head_node": {},
        "worker_nodes": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


class Nodes(NodeProvider):
    """Starts and ends nodes in the autoscaler's process; a node's name is its address."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        (self._head,) = (each.partition("=")[2] for each in sys.argv if each.startswith("--gcs-address="))
        self._tags = {
            self._head.rpartition(":")[0]: {
                TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
                TAG_RAY_USER_NODE_TYPE: HEAD,
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            }
        }
        self._directory, self._cpus = Path(provider_config["directory"]), provider_config["cpus"]
        self._nodes: dict[str, RayNode] = {}
        self._started = 0

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [name for name, tags in self._tags.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._tags[node_id]

    def internal_ip(self, node_id: str) -> str:
        return node_id

    external_ip = internal_ip

    def create_node(self, node_config: object, tags: dict[str, str], count: int) -> None:
        started: list[RayNode] = []
        for _ in range(count):
            self._started += 1
            name = f"{_NET}.{self._started}"
            options = ("--address", self._head, "--num-cpus", str(self._cpus))
            started.append(RayNode(name, self._directory / str(self._started), *options))
        for node in started:
            # The node's processes end with this one.
            self._nodes[node.address] = node.wait()
            self._tags[node.address] = tags | {TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}

    def terminate_node(self, node_id: str) -> None:
        del self._tags[node_id]
        self._nodes.pop(node_id).kill()
