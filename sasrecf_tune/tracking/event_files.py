"""TensorBoard's event files: one for each trial and one for the study, to which runs append.

TensorBoard follows a file that is appended to. Its own writer starts another file each time, which a study
that pauses trials would do thousands of times.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import (
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter
from typing_extensions import override

from sasrecf_tune.storage.files import check_size, make_directory, open_own
from sasrecf_tune.tracking.run_logs import StudyLog, Tracker, TrialLog, flat_params
from sasrecf_tune.trials import State

# TensorBoard reads files whose names have ".tfevents.".
_FILE = "events.out.tfevents.0"
_STUDY = "study"
_STATE, _RANKING, _SETTINGS, _BEST = "state", "ranking", "settings", "best"
# A record: its length (8 bytes), a checksum of that (4), the content, a checksum of that.
_HEAD, _TAIL = 12, 4


@dataclass
class _Run:
    """What a file has: the last step of each curve, the last text of each tag, whether parameters."""

    name: str
    path: Path
    steps: dict[str, int]
    texts: dict[str, str]
    has_params: bool = False


class EventFiles(Tracker):
    """Writes to a directory; `directory/trial-0003/` is the run of a trial.

    Args:
        directory: The directory.
        study: The study's name.
    """

    name = "tensorboard"

    def __init__(self, directory: Path, study: str) -> None:
        self.place = "."  # of the study, which may be moved
        self._directory = directory
        self._study = study
        self._runs: dict[str, _Run] = {}

    @override
    def write_trial(self, log: TrialLog) -> None:
        run = self._open(log.name)
        events = []
        if not run.has_params:
            events.append(_session_start(log, self._study))
        for epoch in log.values:
            new = {tag: value for tag, value in epoch.values.items() if epoch.epoch > run.steps.get(tag, 0)}
            if new:
                events.append(_scalars(new, epoch.epoch, epoch.time))
        last = log.last_time
        results = {
            tag: value for tag, value in log.results.items() if log.last_epoch > run.steps.get(tag, -1)
        }
        if results:
            events.append(_scalars(results, log.last_epoch, last))
        state = f"{log.state}: {log.error}" if log.error else str(log.state)
        if run.texts.get(_STATE) != state:
            events.append(_text(_STATE, state, log.last_epoch, last))
            if log.settled and log.state != State.PAUSED:
                events.append(_session_end(log, last))
        self._append(run, events)

    @override
    def write_study(self, log: StudyLog) -> None:
        run = self._open(_STUDY)
        ended = sum(log.trials.values())
        texts = {
            _SETTINGS: _table(log.settings),
            _BEST: _table(log.best),
            _RANKING: log.ranking,
            _STATE: f"{log.state}: {', '.join(f'{count} {state}' for state, count in log.trials.items())}",
        }
        now = max((file.stat().st_mtime for file in log.files), default=0.0)
        events = [_text(tag, text, ended, now) for tag, text in texts.items() if run.texts.get(tag) != text]
        self._append(run, events)

    @override
    def close(self) -> None:
        pass  # no file stays open

    def _open(self, name: str) -> _Run:
        if name not in self._runs:
            make_directory(self._directory / name)
            self._runs[name] = _read(name, self._directory / name / _FILE)
        return self._runs[name]

    def _append(self, run: _Run, events: list[Any]) -> None:
        if not events:
            return
        # If it fails, the file is read again before more is written: it may end in half a record.
        del self._runs[run.name]
        with os.fdopen(open_own(run.path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
        for event in events:
            _note(run, event)
        self._runs[run.name] = run


def _read(name: str, path: Path) -> _Run:
    """Read what a file has, and cut off the record that a killed run has left incomplete.

    Raises:
        OSError: It cannot be read, is larger than any that a run writes, or is damaged.
    """
    run = _Run(name, path, {}, {})
    with os.fdopen(open_own(path, os.O_RDWR), "r+b") as file:
        check_size(file.fileno(), path)
        content = file.read()
        whole = 0
        while len(content) >= whole + _HEAD:
            (length,) = struct.unpack_from("<Q", content, whole)
            end = whole + _HEAD + length + _TAIL
            if end > len(content):
                break
            try:
                _note(run, Event.FromString(content[whole + _HEAD : end - _TAIL]))
            except (DecodeError, UnicodeDecodeError) as error:
                raise OSError(errno.EINVAL, "it is damaged; move it away", str(path)) from error
            whole = end
        if whole < len(content):
            file.truncate(whole)
    return run


def _note(run: _Run, event: Any) -> None:
    """Note what an event adds to a run."""
    for value in event.summary.value:
        if value.HasField("simple_value"):
            run.steps[value.tag] = max(event.step, run.steps.get(value.tag, -1))
        elif value.tag == SESSION_START_INFO_TAG:
            run.has_params = True
        elif value.HasField("tensor") and value.tensor.string_val:
            run.texts[value.tag] = value.tensor.string_val[0].decode()


def _scalars(values: Mapping[str, float], step: int, time: float) -> Any:
    found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=time, step=step, summary=Summary(value=found))


def _text(tag: str, text: str, step: int, time: float) -> Any:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
    return Event(wall_time=time, step=step, summary=Summary(value=[value]))


def _session_start(log: TrialLog, study: str) -> Any:
    """The parameters of a trial, for TensorBoard's page HPARAMS."""
    # TensorBoard takes runs with the same name of a group for one trial.
    start = SessionStartInfo(group_name=f"{study} {log.name}", start_time_secs=log.started)
    for name, value in flat_params(log.params).items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return _hparams(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start), log.started)


def _session_end(log: TrialLog, time: float) -> Any:
    status = Status.Value("STATUS_FAILURE" if log.state == State.FAILED else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time)
    return _hparams(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end), time)


def _hparams(tag: str, content: Any, time: float) -> Any:
    # TensorBoard reads only such values as have a tensor.
    value = Summary.Value(tag=tag, metadata=create_summary_metadata(content), tensor=NULL_TENSOR)
    return Event(wall_time=time, summary=Summary(value=[value]))


def _table(facts: Mapping[str, Any]) -> str:
    """A table in Markdown."""
    rows = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in facts.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])
