"""The live view of a search in a Jupyter notebook."""

from __future__ import annotations

import io
import time
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.jupyter import JUPYTER_HTML_FORMAT

from sasrecf_tune.report.terminal.progress import LiveView, Progress

_SECONDS = 1.0


class NotebookView(LiveView):
    """The live view as HTML below the cell, drawn again every second.

    rich draws live views through ipywidgets, which not every notebook has.
    """

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress, console)
        self._display: Any = import_module("IPython.display")
        self._next = 0.0

    def __enter__(self) -> NotebookView:
        self._handle = self._display.display(self._html(), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.update(self._display.HTML(""))

    def tick(self) -> None:
        """Draw the view again where it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self._handle.update(self._html())

    def _html(self) -> Any:
        canvas = Console(file=io.StringIO(), record=True, width=self._console.width, force_jupyter=False)
        canvas.print(self._render())
        return self._display.HTML(canvas.export_html(inline_styles=True, code_format=JUPYTER_HTML_FORMAT))
