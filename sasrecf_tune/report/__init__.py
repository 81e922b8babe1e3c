"""Ranked results for people and for programs."""
