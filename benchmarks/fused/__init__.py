"""Benchmarks of trials that train as one model, and of several workers."""
