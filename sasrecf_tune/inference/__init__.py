"""Uses a final model: reads its directory, encodes histories, ranks items."""
