"""Checks of the engine and of searches on a GPU, within ten minutes."""
