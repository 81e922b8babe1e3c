"""Dropout masks by counter: each element is a function of the trial's seed, the step and its own place.

A mask is a hash of (seed, step, layer, kind, sample, position), so that a trial drops the same whatever it is
trained with, however its batch is split, and after an interruption. There is no stream of random numbers.

A hash of 32 bits decides four elements, a byte each. If a rate is not a multiple of 1/256, a second hash
refines the bytes to 16 bits. Masks are numbers, 0 or 1: torch multiplies by those much faster than by truth
values. All operations are on integers or exact, so that every device and version of torch draws the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class DropoutRates:
    """Dropout probabilities; both are 0 outside of training."""

    hidden: float
    attention: float


@dataclass(frozen=True)
class TrialStep:
    """What the masks of one step of a trial depend on, besides the sizes of its model."""

    seed: int
    step: int
    rates: DropoutRates


@dataclass(frozen=True)
class HiddenMasks:
    """What a group of samples keeps of its hidden states; None where nothing is dropped.

    Attributes:
        embedding: [samples, length, hidden].
        layers: After the attention and after the feed-forward network of each layer, each
            [samples, length, hidden]; in the last layer [samples, hidden].
    """

    embedding: Tensor | None
    layers: Sequence[tuple[Tensor | None, Tensor | None]]


# Of each layer what is kept of its attention weights, [heads, samples, length, length]; in the last layer
# [samples, heads, length].
AttentionMasks = Sequence[Tensor | None]

# A byte of a word decides one element.
_BYTES = 4
# The hash's constants: https://github.com/skeeto/hash-prospector.
_SHIFTS = 16, 15, 15
_FACTORS = 0x21F0AAAD, 0xD35A2D97 - (1 << 32)


def keep_scale(p: float) -> float:
    """Return the factor 1 / (1 - p) that masks leave out; 0 for p = 1, as in torch."""
    return 1.0 / (1.0 - p) if p < 1 else 0.0


class StepMasks:
    """The masks of one training step of one or several trials, whose models have the same shapes.

    Args:
        trials: What each trial's masks depend on.
        layers: Number of layers.
        hidden: Hidden size.
        longest: The longest history that the models take.
        device: The device of the masks.
    """

    def __init__(
        self, trials: Sequence[TrialStep], layers: int, hidden: int, longest: int, device: torch.device
    ) -> None:
        self._layers, self._hidden, self._longest, self._device = layers, hidden, longest, device
        self._of_hidden = _Rates.of([trial.rates.hidden for trial in trials], device)
        self._of_attention = _Rates.of([trial.rates.attention for trial in trials], device)
        if self._of_hidden.drops or self._of_attention.drops:
            keys = np.stack([_keys(trial.seed, trial.step) for trial in trials])
            # [kind, level, key, trials, 1]: hidden states or attention, first bytes or second
            self._keys = torch.from_numpy(keys.T.reshape(2, 2, 2, -1, 1)).to(device, non_blocking=True)

    def hidden(self, rows: Tensor, length: int) -> HiddenMasks:
        """Return the masks of hidden states.

        Args:
            rows: The samples' places in the batches of their trials, [trials * samples].
            length: Number of positions.
        """
        rates, whole = self._of_hidden, 2 * self._layers - 1
        if not rates.drops:
            return HiddenMasks(None, [(None, None)] * self._layers)
        words = _words(self._hidden)
        kinds, places = self._arange(whole)[:, None], self._arange(length * words)
        end = whole * self._longest * words
        counters = torch.cat(
            [(kinds * (self._longest * words) + places).view(-1), self._arange(2 * words) + end]
        )
        draws = rates.draw(self._keys[0], rows, counters, end + 2 * words)
        each = [
            rates.keep(draws, place * length * words, (length, words), self._hidden) for place in range(whole)
        ]
        tail = whole * length * words
        each += [rates.keep(draws, tail + place * words, (words,), self._hidden) for place in range(2)]
        return HiddenMasks(each[0], list(zip(each[1::2], each[2::2], strict=True)))

    def attention(self, rows: Tensor, length: int, heads: int, some: slice = slice(None)) -> AttentionMasks:
        """Return the masks of attention weights of the trials `some`, which have as many `heads`."""
        rates = self._of_attention.select(some)
        if not rates.drops:
            return [None] * self._layers
        words, line = _words(length), _words(self._longest)
        before = (self._layers - 1) * heads  # heads of all layers but the last
        lines = (self._arange(before)[:, None] * self._longest + self._arange(length)).view(-1)
        end = before * self._longest
        lines = torch.cat([lines, self._arange(heads) + end])
        counters = (lines[:, None] * line + self._arange(words)).view(-1)
        draws = rates.draw(self._keys[1][..., some, :], rows, counters, (end + heads) * line)
        size = heads * length * words
        masks = [
            rates.keep(draws, layer * size, (heads, length, words), length, heads_first=True)
            for layer in range(self._layers - 1)
        ]
        return [*masks, rates.keep(draws, before * length * words, (heads, words), length)]

    def _arange(self, count: int) -> Tensor:
        return torch.arange(count, dtype=torch.int32, device=self._device)


@dataclass(frozen=True)
class _Rates:
    """The probabilities of one kind, one for each trial.

    Attributes:
        below: An element is dropped if its random number of [0, 256) is below.
        levels: The same on the device of the masks, [trials, 1].
    """

    below: Sequence[float]
    levels: Tensor

    @classmethod
    def of(cls, rates: Sequence[float], device: torch.device) -> _Rates:
        """Return the rates to the nearest multiple of 1/65536."""
        below = [round(p * 65536) / 256 for p in rates]
        return cls(below, torch.tensor(below)[:, None].to(device, non_blocking=True))

    @property
    def drops(self) -> bool:
        """Whether any trial drops anything."""
        return any(self.below)

    def select(self, some: slice) -> _Rates:
        """Return those of some trials."""
        return _Rates(self.below[some], self.levels[some])

    def draw(self, keys: Tensor, rows: Tensor, counters: Tensor, per_sample: int) -> list[Tensor]:
        """Return random bytes, [trials * samples, 4 * counters], and if needed others that refine them.

        Args:
            keys: [level, key, trials, 1].
            rows: As in `StepMasks.hidden`.
            counters: The numbers of the words of a sample, [counters].
            per_sample: A bound of them.
        """
        samples = (rows.view(len(self.below), -1) * per_sample).to(torch.int32)
        fine = any(level % 1 for level in self.below)
        return [_random_bytes(samples, counters, *keys[level]) for level in range(1 + fine)]

    def keep(
        self, draws: list[Tensor], first: int, words: tuple[int, ...], width: int, heads_first: bool = False
    ) -> Tensor:
        """Return 1 for each element that is kept and 0 for the others, [samples, ..., width].

        Args:
            draws: What `draw` returned.
            first: The first word of the mask.
            words: The words of its elements, in the order of the counters.
            width: Elements that the last axis has.
            heads_first: Exchange the samples with the next axis.
        """
        shape = len(draws[0]), *words[:-1], words[-1] * _BYTES
        low, high = first * _BYTES, (first + math.prod(words)) * _BYTES
        parts = [drawn[:, low:high].view(shape)[..., :width] for drawn in draws]
        if heads_first:
            parts = [part.transpose(0, 1) for part in parts]
        numbers = torch.empty(parts[0].shape, dtype=torch.float32, device=self.levels.device).copy_(parts[0])
        if len(parts) > 1:
            numbers.add_(parts[1], alpha=1 / 256)
        if len(self.below) == 1:
            return numbers.ge_(self.below[0])
        by_trial = (words[0], len(self.below)) if heads_first else (len(self.below),)
        numbers.view(*by_trial, -1).ge_(self.levels)
        return numbers


def _keys(seed: int, step: int) -> NDArray[np.int32]:
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=32).digest()
    return np.frombuffer(digest, dtype="<i4").astype(np.int32)


def _words(elements: int) -> int:
    return -(-elements // _BYTES)


def _random_bytes(samples: Tensor, counters: Tensor, before: Tensor, within: Tensor) -> Tensor:
    """Hash `samples` + `counters` with two keys, [trials, 1]: [trials * samples, 4 * counters]."""
    hashed = (samples + before).view(-1, 1) + counters
    by_trial, shifted = hashed.view(len(samples), -1), torch.empty_like(hashed)
    _mix(hashed, shifted, _SHIFTS[0])
    torch.add(within, by_trial, alpha=_FACTORS[0], out=by_trial)
    _mix(hashed, shifted, _SHIFTS[1])
    hashed.mul_(_FACTORS[1])
    _mix(hashed, shifted, _SHIFTS[2])
    return hashed.view(torch.uint8)


def _mix(x: Tensor, shifted: Tensor, shift: int) -> None:
    # torch shifts copies of the sign in.
    torch.bitwise_right_shift(x, shift, out=shifted)
    x.bitwise_xor_(shifted.bitwise_and_((1 << (32 - shift)) - 1))
