"""What a worker says that cannot start."""

from __future__ import annotations

import errno
import multiprocessing
from pathlib import Path

import pytest

from sasrecf_tune.errors import WorkerError
from sasrecf_tune.executors import worker


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("libtorch.so: cannot allocate memory in static TLS block"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (ImportError("undefined symbol: iJIT_NotifyEvent"), False),
        (OSError(errno.EPERM, "Operation not permitted"), False),
        (ValueError("numpy.dtype size changed"), False),
    ],
)
def test_a_lack_of_memory_is_not_taken_for_a_wrong_version(
    error: Exception, memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(worker, "import_module", fail)
    monkeypatch.setattr(worker, "_exit_with_parent", lambda: None)
    monkeypatch.setattr(worker, "_redirect_output", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("faulthandler.enable", lambda: None)
    monkeypatch.setattr(worker, "set_threads", lambda _: None)
    ours, theirs = multiprocessing.Pipe()
    worker.main(theirs, worker.WorkerOptions(0, tmp_path / "logs" / "worker-0.log"))
    said = ours.recv()
    assert isinstance(said, WorkerError)
    assert ("not enough memory" in said.what and "Raise the limit" in said.fix) == memory
    assert ("Install the tested versions" in said.fix) == (not memory)
