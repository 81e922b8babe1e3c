"""Benchmarks of training: the fast engine against RecBole's own trainer."""
