"""Values that were made to do harm, for settings, params files and databases."""

from __future__ import annotations

from typing import Any

# Terminals act on these: titles, colours, links, the clipboard, 8-bit control sequences.
ESCAPES = (
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x07",
    "\x9b2J",
    "\x07",
    "\r",
    "\x00",
    "\u202e",
    "[/b]",
    "[red]",
)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2**70,
        10**5000,
        1.5,
        float("nan"),
        float("inf"),
        -1e308,
        "",
        "x",
        "é\ud800",
        "a" * 100_000,
    ),
    *ESCAPES,
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, [1, "a", None], ["x"] * 1000),
    *("../../outside", "/etc/passwd", "learning_rate choice [0.1]", "__import__('os').system('id')"),
)
# Values that are long or deep, for readers whose time grows with the square of their length.
HARD_VALUES = (
    *("1" * 9999, "1" + "_" * 99_999, " " * 99_999, "[" * 999, "(" * 999, "{" * 999, "'" * 9999, "-" * 9999),
    *("0x" + "F" * 5000, "0x" + "F" * 256, "1e" + "9" * 5000, "9" * 400, "'\\x00'", "'\\ud800'", "'\\q'"),
    *("__import__('os').system('id')", "[x for x in ()]", "nan", "1e999", "," * 9999, "# " * 9999),
)
HARD_YAML = (
    *('!!int ""', '!!float ""', "!!bool x", "!!timestamp x", "!!binary x", "!!set {a}", "!!omap [a: 1]"),
    *("!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!python/tuple [1]", "2001-99-99"),
    *("0x" + "F" * 5000, "0b" + "1" * 9999, "9" + ":59" * 4000, "&a [*a]", "&a {<<: *a}", "*a", "? [a]"),
    *("{sample_num: 99999999999999999999}", "{x: 99999999999999999999}", '"a\\0b"', '"\\ud800"', "../" * 20),
    *("http://127.0.0.1:1/", "file:///etc", "{'a': " * 99, "%YAML 9.9"),
)
