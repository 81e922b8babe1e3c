"""A configuration of ml-100k that trains in a fraction of a second an epoch."""

from __future__ import annotations

# 95 users of ml-100k with short histories: a stock epoch takes a fraction of a second.
TINY = {
    "user_inter_num_interval": "[20,23]",
    "MAX_ITEM_LIST_LENGTH": 5,
    "hidden_size": 8,
    "inner_size": 16,
    "n_layers": 1,
    "n_heads": 1,
    "train_batch_size": 256,
    "epochs": 2,
}
