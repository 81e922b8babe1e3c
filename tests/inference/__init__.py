"""Tests of the use of final models."""
