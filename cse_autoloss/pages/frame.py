"""The frame of every page: one file without anything from elsewhere, light and dark, for screens, telephones, paper."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

from cse_autoloss.pages.elements import Safe, el

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Nothing is fetched, whatever a page holds."""


def document(title: str, *body: Any, script: bool = False) -> str:
    """A whole page.

    Args:
        title: of the window.
        body: elements, as of `el`.
        script: with the lines that copy code and open what a link leads to.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("title", title),
        el("style", _file("page.css")),
    )
    lines = el("script", _file("page.js")) if script else None
    return "<!DOCTYPE html>\n" + el("html", head, "\n", el("body", body, lines), lang="en") + "\n"


def framed(page: str, height: int = 640, grows: bool = False) -> str:
    """A page inside another, as a notebook shows it: neither's style touches the other.

    Args:
        page: as of `document`.
        height: in pixels.
        grows: to what the page needs, where the notebook lets it.
    """
    fit = "this.height = this.contentDocument.body.offsetHeight" if grows else None
    return el("iframe", srcdoc=page, width="100%", height=height, style="border: 0", onload=fit)


@lru_cache
def _file(name: str) -> Safe:
    return Safe(files("cse_autoloss.pages").joinpath(name).read_text(encoding="utf-8"))
