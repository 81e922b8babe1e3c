"""The Optuna database: opening it, caching it, sharing it, surviving its outages."""
