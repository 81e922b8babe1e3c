"""Test report.html in headless Chromium: python -m benchmarks.report.page --help."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.report.browser import Browser, executable
from sasrecf_tune.report.page.render import render_page
from tests.support.known_studies import known_report_data

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_ROWS = "[...document.querySelectorAll('#trials tbody tr')]"
_SHOWN = f"{_ROWS}.filter(row => !row.hidden)"


@app.command()
def main(
    file: Annotated[
        Path | None, typer.Argument(help="A report.html. Default: one of a made-up study.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Trials of the made-up study.")] = 1000,
    opens: Annotated[int, typer.Option(help="How often opening the page is timed.")] = 3,
    pictures: Annotated[Path | None, typer.Option(help="Save screenshots of the page here.")] = None,
) -> None:
    """Print the results as JSON; the exit code is 1 where something is wrong, 3 without a browser."""
    program = executable()
    if program is None:
        typer.echo("no Chromium found: apt install chromium", err=True)
        raise typer.Exit(3)
    with tempfile.TemporaryDirectory() as scratch, Browser(program) as browser:
        if file is None:
            file = Path(scratch) / "report.html"
            file.write_text(render_page(known_report_data(trials)), encoding="utf-8")
        url = file.resolve().as_uri()
        browser.screen(1200)
        milliseconds = [_opening(browser, url) for _ in range(opens)]
        found: dict[str, Any] = {"opening_milliseconds": milliseconds}
        found |= {"sorts": _sorts(browser), "filters": _filters(browser), "hovers": _hovers(browser)}
        found["pictures_drawn"] = _drawn(browser)
        found["without_alternative"] = browser.run(
            "[...document.querySelectorAll('.plot')].filter(one => !one.ariaLabel || !one.role).length"
        )
        found["wider_than_phone"] = _wider(browser, 400)
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            _save(browser, url, pictures)
        found |= {"requests": _requests(browser, url), "errors": _errors(browser)}
    print(json.dumps(found, indent=2))
    drawn, _, pictures_there = found["pictures_drawn"].split()
    right = found["sorts"] and found["filters"] and found["hovers"] and drawn == pictures_there
    wrong = found["requests"] or found["errors"] or found["without_alternative"] or found["wider_than_phone"]
    raise typer.Exit(0 if right and not wrong else 1)


def _opening(browser: Browser, url: str) -> int:
    """Return the milliseconds until the page has loaded and its visible figures are drawn."""
    browser.open("about:blank")
    browser.open(url)
    # Two frames later the visible part has been drawn.
    return int(
        browser.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame("
            "() => done(performance.now()))))"
        )
    )


def _column(browser: Browser, heading: str) -> int:
    """Return the place of a column of the table of trials."""
    headings = browser.run("[...document.querySelectorAll('#trials th')].map(one => one.textContent)")
    return next(place for place, text in enumerate(headings) if text.split()[0] == heading)


def _sorts(browser: Browser) -> bool:
    """Return whether a click on a heading sorts, and a second one reverses the order."""
    column = _column(browser, "trial")
    numbers = f"{_ROWS}.map(row => Number(row.cells[{column}].textContent))"
    click = f"document.querySelectorAll('#trials th button')[{column}].click()"
    browser.run(click)
    up = browser.run(numbers)
    browser.run(click)
    down = browser.run(numbers)
    return bool(up == sorted(up) and down == up[::-1] and len(up) > 1)


def _filters(browser: Browser) -> bool:
    """Return whether choosing a state, and typing a word, show only matching rows."""
    change = "dispatchEvent(new Event('input', {bubbles: true}))"
    chosen = browser.run(
        f"(() => {{ const s = document.querySelector('select'); s.value = s.options[1].value; s.{change};"
        " return s.options[1].textContent; })()"
    )
    column = _column(browser, "state")
    states = set(browser.run(f"{_SHOWN}.map(row => row.cells[{column}].textContent)"))
    said = browser.run("document.getElementById('count').textContent")
    browser.run(
        f"(() => {{ const s = document.getElementById('search'); s.value = 'no such'; s.{change}; }})()"
    )
    none = browser.run(f"{_SHOWN}.length")
    browser.run(
        f"(() => {{ document.querySelector('form').reset(); document.querySelector('form').{change}; }})()"
    )
    return states == {chosen} and " of " in said and none == 0 and browser.run(f"{_SHOWN}.length") > 0


def _hovers(browser: Browser) -> bool:
    """Return whether a point under the pointer shows its text."""
    browser.run("document.getElementById('history').scrollIntoView({block: 'center'})")
    browser.until("document.querySelector('#history .scatterlayer .point')")
    x, y = browser.run(
        "(() => { const b = document.querySelector('#history .scatterlayer .point').getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for step in (1, 0):
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y)
    return browser.until("document.querySelector('#history .hovertext')")


def _drawn(browser: Browser) -> str:
    """Return how many figures are drawn after the page was scrolled through."""
    count = int(browser.run("document.querySelectorAll('figure').length"))
    drawn = 0
    for index in range(count):
        figure = f"document.querySelectorAll('figure')[{index}]"
        browser.run(f"{figure}.scrollIntoView()")
        drawn += browser.until(f"{figure}.querySelector('.main-svg')")
    browser.run("scrollTo(0, 0)")
    return f"{drawn} of {count}"


def _wider(browser: Browser, width: int) -> int:
    """Return by how many pixels the page is wider than a screen of `width`."""
    browser.screen(width)
    return int(browser.run(f"Math.max(0, document.documentElement.scrollWidth - {width})"))


def _save(browser: Browser, url: str, directory: Path) -> None:
    browser.open(url)
    for width in (400, 1200):
        for dark in (False, True):
            browser.screen(width, dark=dark)
            _drawn(browser)
            browser.picture(directory / f"page-{width}-{'dark' if dark else 'light'}.png")
    browser.paper(directory / "page.pdf")


def _requests(browser: Browser, url: str) -> list[str]:
    sent = {
        one["params"]["request"]["url"]
        for one in browser.events
        if one["method"] == "Network.requestWillBeSent"
    }
    return sorted(one for one in sent if one not in (url, "about:blank") and not one.startswith("data:"))


def _errors(browser: Browser) -> list[str]:
    found = []
    for event in browser.events:
        parameters = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            found.append(str(parameters["exceptionDetails"].get("exception", {}).get("description"))[:300])
        elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            found.append(str([one.get("value") for one in parameters["args"]])[:300])
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            found.append(parameters["entry"]["text"][:300])
    return found


if __name__ == "__main__":
    app()
