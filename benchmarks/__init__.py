"""Benchmarks: how fast the tuner is, how well it searches, and what it survives."""
