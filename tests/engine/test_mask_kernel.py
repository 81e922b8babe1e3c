"""The Triton kernel of dropout masks; it runs in Triton's interpreter where there is no GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sasrecf_tune.engine.fast import mask_blocks
from sasrecf_tune.engine.fast.dropout import DropoutRates, Heads, StepMasks, TrialStep

triton = pytest.importorskip("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RATES = st.sampled_from([0.0, 1 / 65536, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0])


def load_kernel(interpreted: bool) -> Any:
    """A module of its own, because Triton decides when it is loaded whether to interpret."""
    found = importlib.util.find_spec("sasrecf_tune.engine.fast.mask_kernel")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", str(int(interpreted)))
        found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    interpreted = DEVICE.type == "cpu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TRITON_INTERPRET", str(int(interpreted)))
        yield load_kernel(interpreted)


@settings(deadline=None, max_examples=60)
@given(
    trials=st.lists(
        st.tuples(RATES, RATES, st.integers(0, 2**32), st.integers(0, 2**40), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 12)),
    length=st.integers(1, 12),
    samples=st.integers(1, 70),
    place=st.integers(0, 1 << 20),
)
def test_the_kernel_draws_the_bits_of_torch(
    kernel: Any,
    trials: list[tuple[float, float, int, int, int]],
    sizes: tuple[int, int, int],
    length: int,
    samples: int,
    place: int,
) -> None:
    steps = [TrialStep(seed, step, DropoutRates(p, q)) for p, q, seed, step, _ in trials]
    masks = StepMasks(steps, *sizes, DEVICE)
    rows = torch.arange(place, place + len(trials) * samples, device=DEVICE).flip(0)
    heads = [Heads(number, number + 1, count) for number, (*_, count) in enumerate(trials)]

    def drawn(draw: mask_blocks.Draw) -> list[Tensor | None]:
        masks._draw = draw
        hidden, attention = masks.draw(rows, min(length, sizes[-1]), heads)
        found = [hidden.embedding, *(mask for pair in hidden.layers for mask in pair)]
        return [*found, *(mask for each in attention for mask in each)]

    ours, theirs = map(drawn, (kernel.draw_with_triton, mask_blocks.draw_with_torch))
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or (one.shape == other.shape and torch.equal(one, other))


def test_a_kernel_with_other_bits_is_not_used(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.check_kernel(DEVICE)
    monkeypatch.setattr(
        kernel,
        "draw_with_torch",
        lambda *given: [1 - each for each in mask_blocks.draw_with_torch(*given)],
    )
    with pytest.raises(RuntimeError):
        kernel.check_kernel(DEVICE)


@pytest.mark.parametrize("capability", [70, 80, 90])
@pytest.mark.parametrize("fine", [False, True])
def test_the_kernel_compiles(capability: int, fine: bool) -> None:
    kernel = load_kernel(interpreted=False).mask_kernel
    types = {
        "out": "*fp32",
        "table": "*i64",
        "rows": "*i32",
        "keys": "*i32",
        "units": "*i32",
        "trials": "i32",
    }
    types |= {"fine": "constexpr", "size": "constexpr"}
    source = triton.compiler.ASTSource(kernel, types, {"fine": fine, "size": 256})
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    assert "st.global" in triton.compile(source, target=target).asm["ptx"]
