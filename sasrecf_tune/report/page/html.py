"""HTML from elements, so that no text can become markup."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None


def element(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """<tag attribute=...>children</tag>; `class_` is class, `data_v` data-v; None and False are left out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            made.set(name.rstrip("_").replace("_", "-"), "" if value is True else str(value))
    for child in children:
        for one in [child] if isinstance(child, Element | str) or child is None else child:
            _append(made, one)
    return made


def breakable(name: str) -> list[Child]:
    """A name that may have a new line after each underscore."""
    first, *rest = name.split("_")
    parts: list[Child] = [first]
    for part in rest:
        parts += ["_", element("wbr"), part]
    return parts


def document(root: Element) -> str:
    """The text of a page."""
    text = "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
    # A file name that is no UTF-8 cannot be written as such.
    return text.encode("utf-8", "replace").decode("utf-8")


def _append(made: Element, child: Child) -> None:
    if isinstance(child, Element):
        made.append(child)
    elif child and len(made):
        made[-1].tail = (made[-1].tail or "") + child
    elif child:
        made.text = (made.text or "") + child
