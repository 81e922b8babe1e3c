"""Kills and arbitrary input: what a search survives."""
