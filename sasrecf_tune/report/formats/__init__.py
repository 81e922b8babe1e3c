"""Text formats: CSV, JSON, Markdown, LaTeX, YAML."""
