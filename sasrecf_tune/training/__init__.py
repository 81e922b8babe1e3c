"""Inside a worker: one trial from start to end, checkpoints, caches of prepared data."""
