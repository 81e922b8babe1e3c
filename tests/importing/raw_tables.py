"""Small tables in the layouts that data sets are published in, and what RecBole reads of an imported one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

Row = tuple[str, str, int, int]
ITEMS = 12
GENRES = ("Action", "Comedy", "Drama", "Sci-Fi")


def rows(seed: int = 0, users: int = 15) -> list[Row]:
    """User, item, rating and time of interactions, in no order of times."""
    draw = random.Random(seed)
    found = [
        (
            str(user + 1),
            str(draw.randrange(ITEMS) + 1),
            draw.randint(1, 5),
            draw.randrange(874_724_710, 893_286_638),
        )
        for user in range(users)
        for _ in range(draw.randint(4, 9))
    ]
    draw.shuffle(found)
    return found


def genres(item: int) -> list[str]:
    """One or two genres."""
    return [GENRES[item % 4], GENRES[(item + 1) % 4]][: 1 + item % 2]


def config_of(yaml_file: Path, **changes: Any) -> dict[str, Any]:
    """A RecBole configuration with the settings that an import has written."""
    settings = yaml.safe_load(yaml_file.read_text(encoding="utf-8"))
    model = "SASRecF" if settings.get("selected_features") else "SASRec"
    place = {"dataset": yaml_file.stem, "data_path": str(yaml_file.parent.parent), "model": model}
    return {**place, **settings, "train_neg_sample_args": None, **changes}


def loaded(yaml_file: Path) -> Any:
    """RecBole's data set of the files of an import."""
    from recbole.data.dataset import SequentialDataset

    from sasrecf_tune.engine.recbole import make_config

    return SequentialDataset(make_config(config_of(yaml_file)))


def histories(yaml_file: Path) -> dict[str, list[str]]:
    """The items of each user with two or more, as RecBole gives them to the model: the longest sample."""
    dataset = loaded(yaml_file)
    dataset._change_feat_format()  # makes a sample of each interaction after the first
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    samples = dataset.inter_feat
    found: dict[str, list[str]] = {}
    for place, user in enumerate(samples["user_id"]):
        length = int(samples["item_length"][place])
        numbers = [*samples["item_id_list"][place][:length].tolist(), int(samples["item_id"][place])]
        known = found.setdefault(str(users[user]), [])
        found[str(users[user])] = max(known, [str(items[number]) for number in numbers], key=len)
    return found


def item_feature(yaml_file: Path, name: str) -> dict[str, list[str]]:
    """The values of an item column as RecBole reads them, for each item."""
    dataset = loaded(yaml_file)
    items, values = dataset.field2id_token["item_id"], dataset.field2id_token[name]
    found = {}
    for item, cell in zip(dataset.item_feat["item_id"], dataset.item_feat[name], strict=True):
        numbers = [cell] if getattr(cell, "ndim", 0) == 0 else list(cell)
        found[str(items[item])] = [str(values[int(number)]) for number in numbers if number]
    return found
