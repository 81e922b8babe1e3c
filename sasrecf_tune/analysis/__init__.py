"""Numbers about finished trials: statistics, rankings, main effects. Renders nothing."""
