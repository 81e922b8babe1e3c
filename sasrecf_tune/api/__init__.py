"""The Python API; `sasrecf_tune/__init__.py` exports its names."""
