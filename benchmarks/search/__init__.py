"""Benchmarks of the search: its policies, its coordinator, its confirmation."""
