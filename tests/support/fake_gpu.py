"""A fake CUDA GPU, for machines without one.

Its tensors are in the CPU's memory and are computed there, but they report a GPU as their device and reject
what a real GPU rejects: operations with tensors of the CPU, and conversion to numpy arrays. It has its own
random generator, and counts where code waits for its results. It does not simulate speed, memory or rounding.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
# Operations whose result is a number, or has a size that depends on values.
_WAIT = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2"}
# Operations that accept a tensor of the CPU.
_MIXED = {"copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
_RANDOM = ("bernoulli", "normal", "uniform", "random", "rand", "exponential", "multinomial")


class _GpuTensor(Tensor):
    """A tensor on the GPU; `memory` has its values."""

    memory: Tensor
    gpu: FakeGpu
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def make(memory: Tensor, gpu: FakeGpu) -> _GpuTensor:
        """Return a tensor on the GPU that shares `memory`."""
        found: _GpuTensor = Tensor._make_wrapper_subclass(
            _GpuTensor,
            memory.size(),
            strides=memory.stride(),
            storage_offset=memory.storage_offset(),
            dtype=memory.dtype,
            layout=memory.layout,
        )
        found.memory, found.gpu = memory, gpu
        return found

    def __deepcopy__(self, memo: object) -> Tensor:
        copied = _GpuTensor.make(self.memory.clone(), self.gpu)
        return copied.requires_grad_(self.requires_grad)

    def __reduce_ex__(self, protocol: object) -> Any:
        # Files contain a tensor of the CPU.
        return self.memory.detach().clone().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        leaves = tree_leaves((arguments, options))
        gpu = next(leaf for leaf in leaves if isinstance(leaf, _GpuTensor)).gpu
        name = function._schema.name.split("::")[1]
        for leaf in leaves:
            ours = isinstance(leaf, _GpuTensor) or not isinstance(leaf, Tensor)
            if not ours and leaf.dim() and name not in _MIXED:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device: {function}, {tuple(leaf.shape)}"
                )
        if name in _WAIT or (name.startswith("index") and _indexes_by_values(arguments)):
            gpu.waits(name)
        if name == "copy_" and not isinstance(arguments[0], _GpuTensor):
            gpu.waits(name)
            return arguments[0].copy_(arguments[1].memory)
        draws = name.strip("_").startswith(_RANDOM) or "dropout" in name
        with gpu.generator() if draws else contextlib.nullcontext():
            found = function(*tree_map(_memory_of, arguments), **tree_map(_memory_of, options))
        if name.endswith("_") and isinstance(arguments[0], _GpuTensor):
            return arguments[0]  # an operation in place returns the same tensor
        return tree_map(lambda leaf: _GpuTensor.make(leaf, gpu) if isinstance(leaf, Tensor) else leaf, found)


def _memory_of(leaf: Any) -> Any:
    return leaf.memory if isinstance(leaf, _GpuTensor) else leaf


def _indexes_by_values(arguments: Any) -> bool:
    """Whether a tensor is indexed by a mask, or by a tensor of the CPU."""
    chosen = [leaf for leaf in tree_leaves(arguments[1]) if isinstance(leaf, Tensor)]
    return any(leaf.dtype == torch.bool or not isinstance(leaf, _GpuTensor) for leaf in chosen)


def _is_gpu_tensor(tensor: Any) -> bool:
    while isinstance(tensor, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return isinstance(tensor, _GpuTensor)


class FakeGpu(TorchFunctionMode):
    """Inside the mode, tensors that are created on or moved to a CUDA device are on the GPU.

    `waited` counts the waits for results by line of code.
    """

    def __init__(self, own_generator: bool) -> None:
        super().__init__()
        self.waited: Counter[str] = Counter()
        self._own = own_generator
        self._state = torch.get_rng_state()

    def waits(self, what: str) -> None:
        """Count that the caller waits for the GPU."""
        for frame in reversed(traceback.extract_stack()):
            if "sasrecf_tune" in frame.filename or "recbole" in frame.filename:
                place = "/".join(frame.filename.split("/")[-2:])
                self.waited[f"{place}, {frame.name}: {what}"] += 1
                return

    @contextlib.contextmanager
    def generator(self) -> Iterator[None]:
        """Use the GPU's random generator inside the block."""
        if not self._own:
            yield
            return
        before = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            yield
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(before)

    def seed(self, seed: int) -> None:
        """Replace torch.cuda.manual_seed."""
        self._state = torch.Generator().manual_seed(seed).get_state()

    def state(self, _: object = None) -> Tensor:
        """Replace torch.cuda.get_rng_state."""
        return self._state.clone() if self._own else torch.get_rng_state()

    def set_state(self, state: Tensor, _: object = None) -> None:
        """Replace torch.cuda.set_rng_state."""
        assert not isinstance(state, _GpuTensor)
        if self._own:
            self._state = state.clone()
        else:
            torch.set_rng_state(state)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = dict(options or {})
        own = _SPECIAL.get(function) or next((own for of, own in _ATTRIBUTES if of == function), None)
        if own is not None:
            return own(self, function, arguments, options)
        target = options.get("device")
        if target is None:
            return function(*arguments, **options)
        if torch.device(target).type != "cuda":
            return function(*tree_map(_memory_of, arguments), **options)
        found = function(*tree_map(_memory_of, arguments), **options | {"device": "cpu"})
        return self.put(found.detach()).requires_grad_(found.requires_grad)

    def put(self, tensor: Tensor) -> Tensor:
        """Return `tensor` as a tensor on the GPU that shares its memory."""
        return tensor if isinstance(tensor, _GpuTensor) else _GpuTensor.make(tensor, self)

    def to(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        tensor, *how = arguments
        dtype, target = options.get("dtype"), options.get("device")
        for one in how:
            if isinstance(one, torch.dtype):
                dtype = one
            elif isinstance(one, Tensor):
                dtype, target = one.dtype, one.device
            elif isinstance(one, torch.device | str):
                target = one
        if dtype not in (None, tensor.dtype):
            tensor = tensor.type(dtype)
        if target is None or torch.device(target).type == tensor.device.type:
            return tensor.clone() if options.get("copy") else tensor
        if torch.device(target).type == "cuda":
            return self.put(tensor.detach().clone()).requires_grad_(tensor.requires_grad)
        return self.bring(function, [tensor], {})

    def bring(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        tensor = arguments[0]
        if not isinstance(tensor, _GpuTensor):
            return function(*arguments, **options)
        self.waits("to the CPU")
        return tensor.memory.detach().clone()

    def read(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        tensor = arguments[0]
        if not isinstance(tensor, _GpuTensor):
            return function(*arguments, **options)
        if function is not Tensor.tolist and not options.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        self.waits("to the CPU")
        return function(tensor.memory, *arguments[1:], **options)

    def new_tensor(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if not _is_gpu_tensor(arguments[0]) or "device" in options:
            return function(*arguments, **options)
        return self.put(torch.tensor(*arguments[1:], **{"dtype": arguments[0].dtype} | options))

    def get_device(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return GPU if _is_gpu_tensor(arguments[0]) else function(*arguments, **options)

    def get_data(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if not isinstance(arguments[0], _GpuTensor):
            return function(*arguments, **options)
        with torch.no_grad():
            return arguments[0].detach()

    def set_data(self, function: Any, arguments: Any, options: dict[str, Any]) -> None:
        tensor, value = arguments
        assert isinstance(tensor, _GpuTensor) == isinstance(value, _GpuTensor)
        if isinstance(tensor, _GpuTensor):
            assert tensor.shape == value.shape
            tensor.memory = value.memory
        else:
            function(*arguments, **options)


_Own = Callable[[FakeGpu, Any, Any, dict[str, Any]], Any]
_SPECIAL: dict[Any, _Own] = {
    Tensor.to: FakeGpu.to,
    Tensor.cpu: FakeGpu.bring,
    Tensor.pin_memory: lambda _gpu, _function, arguments, _options: arguments[0],
    Tensor.numpy: FakeGpu.read,
    Tensor.tolist: FakeGpu.read,
    Tensor.__array__: FakeGpu.read,
    Tensor.new_tensor: FakeGpu.new_tensor,
}
# Each access of one of these creates a new object that is equal to the previous one.
_ATTRIBUTES: list[tuple[Any, _Own]] = [
    (Tensor.device.__get__, FakeGpu.get_device),
    (Tensor.data.__get__, FakeGpu.get_data),  # type: ignore[attr-defined]
    (Tensor.data.__set__, FakeGpu.set_data),  # type: ignore[attr-defined]
]


@contextlib.contextmanager
def fake_gpu(own_generator: bool = True) -> Iterator[FakeGpu]:
    """Make torch.cuda use a fake GPU; without an `own_generator` it draws from the CPU's."""
    gpu = FakeGpu(own_generator)
    replacements: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda _=None: "fake GPU",
        "mem_get_info": lambda _=None: (8 << 30, 8 << 30),
        "max_memory_allocated": lambda _=None: 1 << 20,
        "synchronize": lambda _=None: None,
        "empty_cache": lambda: None,
        "manual_seed": gpu.seed,
        "manual_seed_all": gpu.seed,
        "get_rng_state": gpu.state,
        "set_rng_state": gpu.set_state,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, replacement in replacements.items():
            patch.setattr(torch.cuda, name, replacement)
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")  # RecBole sets it; this restores it
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with gpu:
                yield gpu
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
