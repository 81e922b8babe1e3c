"""Recommends items for histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sasrecf_tune.engine.fast.evaluation import score_chunks, users_per_chunk
from sasrecf_tune.engine.fast.trainer import without_overhead
from sasrecf_tune.errors import InputError
from sasrecf_tune.inference.histories import Histories
from sasrecf_tune.inference.model_reader import LoadedModel, read_model
from sasrecf_tune.inference.ranking import leave_out, top_items

_USERS = 4096  # that are encoded at a time


@dataclass(frozen=True)
class Recommendations:
    """The best items of some users.

    Attributes:
        users: Their original ids, [users].
        items: Original ids, best first, [users, top].
        scores: Those of the items; -inf where a user has seen all others, [users, top].
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    scores: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return a row for each user and item as columns: user, item, rank and score."""
        users, top = self.scores.shape
        keep = np.isfinite(self.scores).ravel()
        return {
            "user": np.repeat(self.users, top)[keep],
            "item": self.items.ravel()[keep],
            "rank": np.tile(np.arange(1, top + 1), users)[keep],
            "score": self.scores.ravel()[keep],
        }


class Recommender:
    """A model that recommends.

    Args:
        path: A model directory.
        device: "cpu" or "cuda", as torch names it; None for a GPU if there is one.

    Raises:
        InputError: There is no model, or no such device.
        StorageError: The directory is damaged.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._device = torch.device(chosen)
            torch.zeros(1, device=self._device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"torch cannot use the device {chosen!r}", where="device") from error
        self._loaded: LoadedModel = read_model(path, self._device)
        self._ids = np.array(["", *self._loaded.index], dtype=object)
        self.manifest = self._loaded.manifest
        self.index = self._loaded.index
        self.histories = self._loaded.histories

    def item_vectors(self) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        """Return the original ids of all items, and the vectors that outputs are multiplied with."""
        weight = self._loaded.model.item_embedding.weight[1:]
        return self._ids[1:], weight.numpy(force=True)

    def recommend(
        self, histories: Histories, top: int, include_seen: bool = False
    ) -> Iterator[Recommendations]:
        """Yield the `top` best items of the users that have items, some thousand users at a time.

        Args:
            include_seen: Whether items of the user's own history may be recommended.
        """
        filled = np.flatnonzero(histories.lengths)
        if len(filled) < len(histories):
            histories = histories.select(filled)
        for low in range(0, len(histories), _USERS):
            yield self._recommend(histories.part(low, min(low + _USERS, len(histories))), top, include_seen)

    @torch.no_grad()
    def _recommend(self, histories: Histories, top: int, include_seen: bool) -> Recommendations:
        model, items = self._loaded.model, len(self._ids)
        lengths = torch.from_numpy(histories.lengths)
        ends = torch.from_numpy(histories.ends)
        flat = torch.from_numpy(histories.items).to(self._device)
        used = lengths.clamp(max=self.manifest.architecture.longest)
        with without_overhead():
            outputs = model.outputs_from(self._loaded.inputs, flat, ends - used, used)
            found = []
            begin = 0
            chunks = torch.split(lengths, users_per_chunk(items, self._device))
            for scores, counts in zip(
                score_chunks(outputs, model.item_embedding.weight), chunks, strict=True
            ):
                own = int(counts.sum())
                if not include_seen:
                    leave_out(scores, counts.to(self._device), flat[begin : begin + own])
                begin += own
                found.append(top_items(scores, min(top, items - 1)))
        best, rows = (torch.cat(each).numpy(force=True) for each in zip(*found, strict=True))
        return Recommendations(histories.users, self._ids[rows], best)
