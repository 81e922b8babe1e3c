"""report.html: its templates, figures and assets."""
