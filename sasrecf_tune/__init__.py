"""Hyperparameter tuning for SASRecF, RecBole's self-attentive recommender with item features."""

__version__ = "0.1.0"
