"""Benchmark of report.html in a browser."""
