"""TensorBoard's event files: one for each trial and one for the study, to which runs append.

TensorBoard follows a file that is appended to. Its own writer starts another file each time, which a study
that pauses trials would do thousands of times.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

    steps: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    has_params: bool = False


class EventFiles(Tracker):
    """Writes to a directory; `directory/trial-0003/` is the run of a trial.

    Args:
        directory: The directory.
        study: The study's name.
        shared: Whether several coordinators may write to the directory.
    """

    name = "tensorboard"

    def __init__(self, directory: Path, study: str, shared: bool = False) -> None:
        self.place = "."  # of the study, which may be moved
        self._directory = directory
        self._study = study
        self._shared = shared

    @override
    def write_trial(self, log: TrialLog) -> None:
        def events(run: _Run) -> list[Any]:
            found = [] if run.has_params else [_session_start(log, self._study)]
            for epoch in log.values:
                step = epoch.epoch
                new = {tag: value for tag, value in epoch.values.items() if step > run.steps.get(tag, 0)}
                if new:
                    found.append(_scalars(new, step, epoch.time))
            known = run.texts.get(_STATE, "").partition(": ")[0]
            if self._shared and log.is_outdated(known, max(run.steps.values(), default=0)):
                return found
            last = log.last_time
            results = {
                tag: value for tag, value in log.results.items() if log.last_epoch > run.steps.get(tag, -1)
            }
            if results:
                found.append(_scalars(results, log.last_epoch, last))
            state = f"{log.state}: {log.error}" if log.error else str(log.state)
            if run.texts.get(_STATE) != state:
                found.append(_text(_STATE, state, log.last_epoch, last))
                if log.settled and log.state != State.PAUSED:
                    found.append(_session_end(log, last))
            return found

        self._append(log.name, events)

    @override
    def write_study(self, log: StudyLog) -> None:
        ended = sum(log.trials.values())
        texts = {
            _SETTINGS: _table(log.settings),
            _BEST: _table(log.best),
            _RANKING: log.ranking,
            _STATE: f"{log.state}: {', '.join(f'{count} {state}' for state, count in log.trials.items())}",
        }
        now = max((file.stat().st_mtime for file in log.files), default=0.0)

        def events(run: _Run) -> list[Any]:
            changed = {tag: text for tag, text in texts.items() if run.texts.get(tag) != text}
            return [_text(tag, text, ended, now) for tag, text in changed.items()]

        self._append(_STUDY, events)

    @override
    def close(self) -> None:
        pass  # no file stays open

    def _append(self, name: str, events: Callable[[_Run], list[Any]]) -> None:
        """Append the `events` that a run lacks.

        The file is read each time: another coordinator may have written to it, and may do so at this moment
        where locks are local to each machine or missing. So the records are appended, in one piece.
        """
        path = self._directory / name / _FILE
        make_directory(path.parent)
        with os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "r+b", buffering=0) as file:
            with contextlib.suppress(OSError):  # the file system does not support locks
                fcntl.flock(file, fcntl.LOCK_EX)
            check_size(file.fileno(), path)
            content = file.read()
            run, whole = _read(content, path)
            if whole < len(content):
                file.truncate(whole)  # without the record that a killed run has left incomplete
            records = io.BytesIO()
            writer = RecordWriter(records)
            for event in events(run):
                writer.write(event.SerializeToString())
            left = records.getbuffer()
            while left:  # a full disk takes a part of it, and then raises
                left = left[file.write(left) :]


def _read(content: bytes, path: Path) -> tuple[_Run, int]:
    """What a file has, and the length of its complete records.

    Raises:
        OSError: It is damaged.
    """
    run, whole = _Run(), 0
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
    return run, whole


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
