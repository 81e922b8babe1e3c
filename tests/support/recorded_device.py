"""Records what a program asks of a device: kernels that it starts, and where it waits for them.

The device is torch's "meta": its tensors have shapes and no values, so that whoever reads one must ask here.
One operator of torch counts as one kernel, although some start several on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
# Operators whose result is a number, or has a size that depends on values.
_READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim"}
# Operators that start no kernel, beside those that return a view.
_NO_KERNEL = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("detach", "lift_fresh", "_unsafe_view"),
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# Functions that make a tensor of numbers of the host, and copy it to the device before they return.
_FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class _Creations(TorchFunctionMode):
    """Notes the tensors that are made on the device of numbers of the host."""

    def __init__(self, wait: Callable[[str], None]) -> None:
        super().__init__()
        self._wait = wait

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        found = function(*arguments, **options)
        given = arguments[0] if arguments else next(iter(options.values()), None)
        made_of_tensor = isinstance(given, Tensor) and function is not Tensor.new_tensor
        if function in _FROM_HOST and found.device == META and not made_of_tensor:
            self._wait(f"{function.__name__} from the host")
        return found


class RecordedDevice(TorchDispatchMode):
    """Records the block's kernels and waits.

    Attributes:
        waits: What the host waits for, in order: values that it reads from the device, and copies that are
            not queued.
        kernels: The number of calls of each operator.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        self.kernels: Counter[str] = Counter()
        self._creations = _Creations(self.waits.append)

    def __enter__(self) -> RecordedDevice:
        self._creations.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._creations.__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        options = options or {}
        given = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
        name = function.overloadpacket.__name__
        there = any(tensor.device == META for tensor in given)
        if there and (name in _READS or (name in _INDEXING and _has_mask(arguments[1]))):
            self.waits.append("read" if name == "_local_scalar_dense" else name)
            return _read(name, given[0])
        if name == "_to_copy":
            target = options.get("device", given[0].device)
            if there and target != META:
                self.waits.append("read")
                return torch.zeros(given[0].shape, dtype=options.get("dtype") or given[0].dtype)
            if not there and target == META and not options.get("non_blocking"):
                self.waits.append("a copy from the host")
        elif name == "copy_" and there and any(tensor.device != META for tensor in given):
            if given[0].device != META:
                self.waits.append("read")
                return given[0]
            if not (arguments[2:] and arguments[2]) and not options.get("non_blocking"):
                self.waits.append("a copy from the host")
        elif there and any(tensor.device != META and tensor.dim() for tensor in given):
            self.waits.append(f"{name} from the host")  # torch moves indices to where what they index is
        found = function(*arguments, **options)
        made = any(isinstance(leaf, Tensor) and leaf.device == META for leaf in tree_leaves(found))
        if (there or made) and not function.is_view and name not in _NO_KERNEL:
            self.kernels[name] += 1
        return found


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _read(name: str, tensor: Tensor) -> Any:
    """Return some value, so that the program goes on."""
    if name == "_local_scalar_dense":
        return 0.0 if tensor.dtype.is_floating_point else 0
    if name == "equal":
        return False
    raise NotImplementedError(f"{name} of a tensor without values")
