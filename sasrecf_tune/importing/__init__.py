"""Reads tables of interactions and items, and writes them as RecBole's atomic files."""
