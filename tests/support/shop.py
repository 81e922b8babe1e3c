"""A shop: a tiny data set whose files a test can change, and the same as ready-made histories."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

USERS, ITEMS = 40, 20
# Settings with which a step takes milliseconds.
SMALL: dict[str, str] = {
    "selected_features": "[brand]",
    "epochs": "2",
    "MAX_ITEM_LIST_LENGTH": "10",
    "hidden_size": "8",
    "inner_size": "16",
    "n_layers": "1",
    "hidden_dropout_prob": "0.0",
    "attn_dropout_prob": "0.0",
}

# What the files of `write_sessions` need.
SESSION_SETTINGS: dict[str, str] = {
    "USER_ID_FIELD": "session_id",
    "load_col": "{inter: [session_id, item_id_list, item_id], item: [item_id, brand]}",
    "benchmark_filename": "[train, valid, test]",
    "alias_of_item_id": "[item_id_list]",
}


def write_shop(parent: Path) -> Path:
    """Write shop/shop.inter and shop/shop.item below `parent`; each user has 5 or more interactions."""
    draw = random.Random(0)
    directory = parent / "shop"
    directory.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(USERS):
        for time in sorted(draw.sample(range(1000), draw.randint(5, 8))):
            lines.append(f"u{user}\ti{draw.randrange(ITEMS)}\t{draw.randint(1, 5)}\t{1400000 + time}")
    (directory / "shop.inter").write_text("\n".join(lines) + "\n")
    lines = ["item_id:token\tbrand:token\ttags:token_seq\tprice:float\trank:float"]
    lines += [
        f"i{item}\tb{item % 4}\tt{item % 3} t{item % 5}\t{1 + item % 7}.0\t{item}" for item in range(ITEMS)
    ]
    (directory / "shop.item").write_text("\n".join(lines) + "\n")
    return parent


def write_sessions(parent: Path) -> Path:
    """Write sess/sess.{train,valid,test}.inter with ready-made histories, and sess.item, below `parent`."""
    draw = random.Random(1)
    directory = parent / "sess"
    directory.mkdir(parents=True)
    names = ["session_id:token", "item_id_list:token_seq", "item_id:token"]
    session = 0
    for part, sessions in (("train", 30), ("valid", 12), ("test", 12)):
        lines = ["\t".join(names)]
        for _ in range(sessions):
            items = [f"i{draw.randrange(ITEMS)}" for _ in range(draw.randint(2, 6))]
            session += 1
            row = [f"s{session}", " ".join(items[:-1]), items[-1]]
            lines.append("\t".join(row))
        (directory / f"sess.{part}.inter").write_text("\n".join(lines) + "\n")
    lines = ["item_id:token\tbrand:token", *(f"i{item}\tb{item % 4}" for item in range(ITEMS))]
    (directory / "sess.item").write_text("\n".join(lines) + "\n")
    return parent


def edit(parent: Path, name: str, changes: Mapping[str, Callable[[str], str]]) -> None:
    """Change files of a data set by their suffix; one that does not exist is made from the interactions."""
    for suffix, change in changes.items():
        path = parent / name / f"{name}.{suffix}"
        source = path if path.exists() else parent / name / f"{name}.inter"
        path.write_text(change(source.read_text()))
