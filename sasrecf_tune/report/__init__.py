"""Renders analysis for people and programs."""
