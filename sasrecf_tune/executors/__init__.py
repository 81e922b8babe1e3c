"""Where trials are trained: this process or worker processes; the worker end of the pipe."""
