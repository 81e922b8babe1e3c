"""How much time and memory an import takes."""
