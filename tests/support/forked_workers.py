"""Workers that start at once: forked from a process that has imported torch and RecBole before."""

from __future__ import annotations

import os
from multiprocessing import forkserver, get_context, set_forkserver_preload
from multiprocessing.context import BaseContext

import pytest

from tests.support.paths import ROOT

# Torch imports the last one in the first step of an optimizer.
_IMPORTED = ["sasrecf_tune.training.runner", "sasrecf_tune.engine.fast.build", "torch._dynamo"]


def fork_context() -> BaseContext:
    """A context whose processes are forked from one that this process starts once, and that ends with it.

    They have the environment of that process, so tests that change it need workers of the real kind.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()
    return get_context("forkserver")
