"""What a worker says that cannot start."""

from __future__ import annotations

import errno
import multiprocessing
import resource
from pathlib import Path

import pytest

from sasrecf_tune.errors import WorkerError
from sasrecf_tune.executors import worker
from sasrecf_tune.executors.out_of_memory import after_death


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


@pytest.mark.parametrize(
    ("said", "limit", "hint"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", resource.RLIM_INFINITY, True),
        ("x" * 20_000, 2**40, True),
        ("Fatal Python error: Segmentation fault", resource.RLIM_INFINITY, False),
        (None, resource.RLIM_INFINITY, False),
    ],
)
def test_a_worker_that_dies_in_too_little_memory_names_the_limit(
    said: str | None, limit: int, hint: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    log = tmp_path / "worker-0.log"
    if said:
        log.write_text(said)
    fix = after_death(log)
    assert fix.endswith(f"Its log: {log}") and ("Raise the limit (ulimit -v" in fix) == hint
