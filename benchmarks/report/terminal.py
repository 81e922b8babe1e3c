"""Make docs/images/terminal.svg of a captured terminal: python -m benchmarks.report.terminal --help."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Annotated

import typer
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.text import Text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

# Rich's picture loads its font from the network.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)


@app.command()
def main(
    capture: Annotated[Path, typer.Argument(help="What `tmux capture-pane -e -p` has written.")],
    output: Annotated[Path, typer.Argument(help="The SVG file.")],
    first: Annotated[str, typer.Option(help="Replaces the first line of the capture.")] = "",
    title: Annotated[str, typer.Option(help="Title of the window.")] = "sasrecf-tune run",
) -> None:
    """Draw a captured terminal as an SVG file that loads nothing."""
    # One decoder: a style goes on in the next line.
    lines = list(AnsiDecoder().decode(capture.read_text(encoding="utf-8")))
    while not lines[-1].plain.strip():
        lines.pop()
    if first:
        lines[0] = Text(first)
    width = max(line.cell_len for line in lines)
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(line, highlight=False)
    output.write_text(console.export_svg(title=title, code_format=_FORMAT, unique_id="t"), encoding="utf-8")


if __name__ == "__main__":
    app()
