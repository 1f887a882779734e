"""HTML as values: whatever is not an element already is text, and is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = frozenset({"br", "hr", "img", "meta", "input"})


class Safe(str):
    """A string that is HTML."""

    __slots__ = ()


def el(name: str, /, *children: Any, **attributes: Any) -> Safe:
    """An element.

    Args:
        name: of the tag.
        children: elements, texts (escaped), sequences of both; None is nothing.
        attributes: a trailing underscore is dropped, others become hyphens; None and False are left out, True stands
            alone.

    >>> el("p", "a < b", el("b", 1), class_="note")
    '<p class="note">a &lt; b<b>1</b></p>'
    """
    stated = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Safe(f"<{name}{stated}>")
    return Safe(f"<{name}{stated}>{inside(children)}</{name}>")


def inside(children: Any) -> Safe:
    """Children as they stand in an element."""
    if children is None or children is False:
        return Safe("")
    if isinstance(children, Safe):
        return children
    if isinstance(children, Iterable) and not isinstance(children, (str, bytes)):
        return Safe("".join(inside(child) for child in children))
    return Safe(html.escape(str(children)))


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def details(summary: Any, *children: Any, open_: bool = False, **attributes: Any) -> Safe:
    """What is shown at a click."""
    return el("details", el("summary", summary), children, open=open_, **attributes)


def table(rows: Sequence[Sequence[Any]], head: Sequence[Any] = (), **attributes: Any) -> Safe:
    """A table that scrolls where it is wider than the page."""
    top = el("thead", el("tr", [el("th", cell) for cell in head])) if head else None
    body = el("tbody", [el("tr", [el("td", cell) for cell in row]) for row in rows])
    return el("div", el("table", top, body, **attributes), class_="scroll")


def image(content: bytes, alt: str, kind: str = "svg+xml", **attributes: Any) -> Safe:
    """A picture inside the page."""
    data = base64.b64encode(content).decode("ascii")
    return el("img", alt=alt, src=f"data:image/{kind};base64,{data}", **attributes)
