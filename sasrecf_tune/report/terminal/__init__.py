"""Rich tables and the live view."""
