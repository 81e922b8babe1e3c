"""Benchmark of recommendations."""
