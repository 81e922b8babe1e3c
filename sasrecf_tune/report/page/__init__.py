"""report.html and its assets."""
