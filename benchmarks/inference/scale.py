"""Memory and time of the recommendations for many users and items: --help."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from benchmarks.common import Threads, print_progress, start
from sasrecf_tune.cli.recommend import recommend
from sasrecf_tune.storage.model_directory import (
    ENDS,
    ITEMS,
    Architecture,
    Columns,
    Counts,
    Ids,
    ModelDirectory,
    ModelManifest,
    Origin,
    Training,
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_SEED = 0


@app.command()
def main(
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 1_000_000,
    items: Annotated[int, typer.Option(min=1, help="Items.")] = 100_000,
    length: Annotated[int, typer.Option(min=1, help="Items of each history.")] = 20,
    top: Annotated[int, typer.Option(min=1, help="Items of each user.")] = 10,
    threads: Threads = 0,
) -> None:
    """Peak memory and seconds of `recommend` for all users, with untrained weights and random histories."""
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        _write(ModelDirectory(model), users, items, length)
        print_progress(f"wrote a model of {users:,} users and {items:,} items")
        begun = time.perf_counter()
        recommend(Path(scratch), str(model), top=top, output=Path(scratch) / "recommendations.csv")
        seconds = time.perf_counter() - begun
    # In bytes on macOS; of the whole process, the writing of the model included.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(f"{users:,} users, {items:,} items: {seconds:.1f} s, peak memory {peak:.2f} GB")


def _write(directory: ModelDirectory, users: int, items: int, length: int) -> None:
    """Write an untrained SASRec with RecBole's default architecture."""
    shape = Architecture(64, 256, 2, 2, "gelu", 1e-12, longest=50)
    counts = Counts(users, items, users * length)
    manifest = ModelManifest(
        format=1,
        sasrecf_tune="0",
        created="",
        model="SASRec",
        architecture=shape,
        columns=Columns("user_id", "item_id", "timestamp"),
        counts=counts,
        training=Training("all", 1, _SEED, "fast"),
        origin=Origin("none", "MRR@10", 0, 0.0, "Untrained."),
        dataset="random",
        fingerprint="",
        config={},
    )
    directory.directory.mkdir()
    torch.manual_seed(_SEED)
    save_file(_weights(shape, items + 1), directory.weights)
    draw = np.random.default_rng(_SEED)
    seen = draw.integers(1, items + 1, users * length, dtype=np.int32)
    ends = np.arange(users + 1, dtype=np.int64) * length
    save_file({ITEMS: torch.from_numpy(seen), ENDS: torch.from_numpy(ends)}, directory.data)
    names = [
        ["[PAD]", *(f"{kind}{number}" for number in range(count))]
        for kind, count in (("u", users), ("i", items))
    ]
    directory.write_json(directory.ids, Ids(*names))
    directory.write_json(directory.manifest, manifest)
    directory.card.write_text("Untrained.\n")


def _weights(shape: Architecture, items: int) -> dict[str, torch.Tensor]:
    """Random parameters by the names of RecBole's SASRec."""
    hidden, inner = shape.hidden_size, shape.inner_size
    sizes: dict[str, tuple[int, ...]] = {
        "item_embedding.weight": (items, hidden),
        "position_embedding.weight": (shape.longest, hidden),
        "LayerNorm.weight": (hidden,),
        "LayerNorm.bias": (hidden,),
    }
    for layer in range(shape.n_layers):
        at = f"trm_encoder.layer.{layer}."
        for part, rows, columns in (
            *(
                (f"multi_head_attention.{name}", hidden, hidden)
                for name in ("query", "key", "value", "dense")
            ),
            ("feed_forward.dense_1", inner, hidden),
            ("feed_forward.dense_2", hidden, inner),
        ):
            sizes |= {f"{at}{part}.weight": (rows, columns), f"{at}{part}.bias": (rows,)}
        for part in ("multi_head_attention", "feed_forward"):
            sizes |= {f"{at}{part}.LayerNorm.{name}": (hidden,) for name in ("weight", "bias")}
    return {name: torch.randn(size) * 0.02 for name, size in sizes.items()}


if __name__ == "__main__":
    start(app)
