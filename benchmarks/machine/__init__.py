"""Benchmarks of the default use of a machine."""
