"""What a search shows in a Jupyter notebook."""

from __future__ import annotations

import io
import sys
import time
from importlib import import_module
from typing import Any

from rich.jupyter import JUPYTER_HTML_FORMAT
from typing_extensions import override

from sasrecf_tune.report.terminal.console import SafeConsole
from sasrecf_tune.report.terminal.live_view import LiveView
from sasrecf_tune.report.terminal.progress import Progress

_SECONDS = 1.0


class NotebookConsole(SafeConsole):
    """A console whose text is plain text below the cell; rich would make an output of each line."""

    def __init__(self) -> None:
        super().__init__(width=115, height=30, force_jupyter=False, force_terminal=False)


class NotebookView(LiveView):
    """The live view as HTML below the cell, drawn again every second.

    rich draws live views through ipywidgets, which not every notebook has.
    """

    def __init__(self, progress: Progress, console: NotebookConsole) -> None:
        super().__init__(progress, console)
        self._display: Any = import_module("IPython.display")
        self._next = 0.0

    def __enter__(self) -> NotebookView:
        self._handle = self._display.display(self._html(), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.update(self._display.HTML(""))

    @override
    def on_tick(self) -> None:
        """Draw the view again where it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self._handle.update(self._html())

    def _html(self) -> Any:
        canvas = SafeConsole(file=io.StringIO(), record=True, width=self._console.width, force_jupyter=False)
        canvas.print(self.render())
        return self._display.HTML(canvas.export_html(inline_styles=True, code_format=JUPYTER_HTML_FORMAT))


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
