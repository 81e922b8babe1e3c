"""Reads TensorBoard's event files with TensorBoard's own reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import (
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    parse_session_end_info_plugin_data,
    parse_session_start_info_plugin_data,
)


@dataclass
class EventRun:
    """One run: (step, value) pairs of its curves, the texts of its tags, and what HPARAMS shows."""

    curves: dict[str, list[tuple[int, float]]]
    texts: dict[str, list[tuple[int, str]]]
    params: dict[str, Any]
    succeeded: bool | None


def read_events(directory: Path) -> EventRun:
    """Read the run in a directory."""
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    texts = {
        tag: [(event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors(tag)]
        for tag in tags["tensors"]
        if not tag.startswith("_hparams_")
    }
    params: dict[str, Any] = {}
    if SESSION_START_INFO_TAG in tags["tensors"]:
        content = found.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
        start = parse_session_start_info_plugin_data(content)
        params = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    succeeded = None
    if SESSION_END_INFO_TAG in tags["tensors"]:
        content = found.SummaryMetadata(SESSION_END_INFO_TAG).plugin_data.content
        succeeded = parse_session_end_info_plugin_data(content).status == 1
    curves = {
        tag: [(event.step, round(event.value, 6)) for event in found.Scalars(tag)] for tag in tags["scalars"]
    }
    return EventRun(curves, texts, params, succeeded)
