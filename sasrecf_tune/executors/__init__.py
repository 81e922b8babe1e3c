"""Ways to have trials trained: in worker processes, or in this process."""
