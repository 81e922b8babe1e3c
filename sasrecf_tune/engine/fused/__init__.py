"""Fused trials: several models of the same shapes trained as one, with a trial axis."""
