"""A stand-in for a CUDA card, for machines without one.

Its tensors lie in the CPU's memory and are computed there, but say that they are on a card, and refuse what
a real one refuses: to be mixed with the CPU's, and to be read as numpy arrays. It has a random generator of
its own, and notes where its results are waited for. It says nothing about speed, about memory, or about
kernels that round as a card does.
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

CARD = torch.device("cuda", 0)
# Whose result is a number in the CPU's memory, or has a size that depends on the values.
_WAIT = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2"}
# Those for which a tensor of the CPU is copied.
_MIXED = {"copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
_RANDOM = ("bernoulli", "normal", "uniform", "random", "rand", "exponential", "multinomial")


class _OnCard(Tensor):
    """A tensor on the card; `held` is its memory."""

    held: Tensor
    card: Card
    # A subclass answers for itself, not for what it holds.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    device = property(lambda self: CARD)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def make(held: Tensor, card: Card) -> _OnCard:
        """`held` as the card's, with the same memory."""
        found: _OnCard = Tensor._make_wrapper_subclass(
            _OnCard,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
        )
        found.held, found.card = held, card
        return found

    def __deepcopy__(self, memo: object) -> Tensor:
        copied = _OnCard.make(self.held.clone(), self.card)
        return copied.requires_grad_(self.requires_grad)

    def __reduce_ex__(self, protocol: object) -> Any:
        # In a file it is a tensor that is read with map_location="cpu".
        return self.held.detach().clone().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        leaves = tree_leaves((arguments, options))
        card = next(leaf for leaf in leaves if isinstance(leaf, _OnCard)).card
        name = function._schema.name.split("::")[1]
        for leaf in leaves:
            ours = isinstance(leaf, _OnCard) or not isinstance(leaf, Tensor)
            if not ours and leaf.dim() and name not in _MIXED:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device: {function}, {tuple(leaf.shape)}"
                )
        if name in _WAIT or (name.startswith("index") and _chooses(arguments)):
            card.waits(name)
        if name == "copy_" and not isinstance(arguments[0], _OnCard):
            card.waits(name)
            return arguments[0].copy_(arguments[1].held)
        draws = name.strip("_").startswith(_RANDOM) or "dropout" in name
        with card.generator() if draws else contextlib.nullcontext():
            found = function(*tree_map(_held, arguments), **tree_map(_held, options))
        if name.endswith("_") and isinstance(arguments[0], _OnCard):
            return arguments[0]  # what is changed in place is the same tensor afterwards
        return tree_map(lambda leaf: _OnCard.make(leaf, card) if isinstance(leaf, Tensor) else leaf, found)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, _OnCard) else leaf


def _chooses(arguments: Any) -> bool:
    """Whether a tensor is indexed by a mask, or by places that have to be brought to the card."""
    chosen = [leaf for leaf in tree_leaves(arguments[1]) if isinstance(leaf, Tensor)]
    return any(leaf.dtype == torch.bool or not isinstance(leaf, _OnCard) for leaf in chosen)


def _of_card(tensor: Any) -> bool:
    while isinstance(tensor, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return isinstance(tensor, _OnCard)


class Card(TorchFunctionMode):
    """While it is entered, what is made on or moved to a CUDA device is on the card.

    `waited` counts how often a result was waited for, by the line of the code that did.
    """

    def __init__(self, own_generator: bool) -> None:
        super().__init__()
        self.waited: Counter[str] = Counter()
        self._own = own_generator
        self._state = torch.get_rng_state()

    def waits(self, what: str) -> None:
        """Note that the caller waits for the card."""
        for frame in reversed(traceback.extract_stack()):
            if "sasrecf_tune" in frame.filename or "recbole" in frame.filename:
                place = "/".join(frame.filename.split("/")[-2:])
                self.waited[f"{place}, {frame.name}: {what}"] += 1
                return

    @contextlib.contextmanager
    def generator(self) -> Iterator[None]:
        """What is drawn inside comes from the card's generator."""
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
        """As torch.cuda.manual_seed."""
        self._state = torch.Generator().manual_seed(seed).get_state()

    def state(self, _: object = None) -> Tensor:
        """As torch.cuda.get_rng_state."""
        return self._state.clone() if self._own else torch.get_rng_state()

    def set_state(self, state: Tensor, _: object = None) -> None:
        """As torch.cuda.set_rng_state."""
        assert not isinstance(state, _OnCard)
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
            return function(*tree_map(_held, arguments), **options)
        found = function(*tree_map(_held, arguments), **options | {"device": "cpu"})
        return self.put(found.detach()).requires_grad_(found.requires_grad)

    def put(self, tensor: Tensor) -> Tensor:
        """`tensor` on the card, with the same memory if it is the CPU's."""
        return tensor if isinstance(tensor, _OnCard) else _OnCard.make(tensor, self)

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
        if not isinstance(tensor, _OnCard):
            return function(*arguments, **options)
        self.waits("to the CPU")
        return tensor.held.detach().clone()

    def read(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        tensor = arguments[0]
        if not isinstance(tensor, _OnCard):
            return function(*arguments, **options)
        if function is not Tensor.tolist and not options.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        self.waits("to the CPU")
        return function(tensor.held, *arguments[1:], **options)

    def new_tensor(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if not _of_card(arguments[0]) or "device" in options:
            return function(*arguments, **options)
        return self.put(torch.tensor(*arguments[1:], **{"dtype": arguments[0].dtype} | options))

    def get_device(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return CARD if _of_card(arguments[0]) else function(*arguments, **options)

    def get_data(self, function: Any, arguments: Any, options: dict[str, Any]) -> Any:
        if not isinstance(arguments[0], _OnCard):
            return function(*arguments, **options)
        with torch.no_grad():
            return arguments[0].detach()

    def set_data(self, function: Any, arguments: Any, options: dict[str, Any]) -> None:
        tensor, value = arguments
        assert isinstance(tensor, _OnCard) == isinstance(value, _OnCard)
        if isinstance(tensor, _OnCard):
            assert tensor.shape == value.shape
            tensor.held = value.held
        else:
            function(*arguments, **options)


_Own = Callable[[Card, Any, Any, dict[str, Any]], Any]
_SPECIAL: dict[Any, _Own] = {
    Tensor.to: Card.to,
    Tensor.cpu: Card.bring,
    Tensor.numpy: Card.read,
    Tensor.tolist: Card.read,
    Tensor.__array__: Card.read,
    Tensor.new_tensor: Card.new_tensor,
}
# Each look at one of these makes another object, equal to the last.
_ATTRIBUTES: list[tuple[Any, _Own]] = [
    (Tensor.device.__get__, Card.get_device),
    (Tensor.data.__get__, Card.get_data),  # type: ignore[attr-defined]
    (Tensor.data.__set__, Card.set_data),  # type: ignore[attr-defined]
]


@contextlib.contextmanager
def inserted(own_generator: bool = True) -> Iterator[Card]:
    """A card, which torch.cuda then has; without an `own_generator` it draws what the CPU would."""
    card = Card(own_generator)
    stand_ins: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda _=None: "a stand-in for a card",
        "mem_get_info": lambda _=None: (8 << 30, 8 << 30),
        "max_memory_allocated": lambda _=None: 1 << 20,
        "synchronize": lambda _=None: None,
        "manual_seed": card.seed,
        "manual_seed_all": card.seed,
        "get_rng_state": card.state,
        "set_rng_state": card.set_state,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in stand_ins.items():
            patch.setattr(torch.cuda, name, stand_in)
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")  # RecBole sets it; this puts it back afterwards
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with card:
                yield card
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
