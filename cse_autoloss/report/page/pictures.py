"""Pictures that the run directory holds: detections right, wrong and missed; the path of a distribution's mean."""

from __future__ import annotations

import io
from pathlib import Path

from cse_autoloss.pages import Safe, el, image
from cse_autoloss.report.view import RunView

WIDEST = 1200
"""Pixels; a wider picture is made smaller, so that the page stays small."""
_SHOWN = (
    ("predictions/grid.png", "What its detector finds", "First pictures of the test split, none chosen."),
    ("plots/mu.png", "The searched distribution's mean", "Epoch by epoch."),
    ("plots/gradient.png", "Gradient of the target's activation", "Before the search and after it."),
)


def pictures(view: RunView) -> Safe | None:
    """Those that are there; of a detector without any, how to have them drawn."""
    parts = [
        el("div", el("h3", title), el("p", words, class_="note"), _small(view.path(name), title))
        for name, title, words in _SHOWN
        if view.path(name).is_file()
    ]
    if not parts:
        detector = isinstance(view.config.get(str(view.about.get("task"))), dict) and view.summary.get("best")
        if not detector or "detector" not in view.config[str(view.about["task"])]:
            return None
        how = f"cse-autoloss predict {view.directory}"
        parts = [
            el("p", "Detections on test pictures are drawn by ", el("code", how), ", and then stand here.")
        ]
    return el("section", el("h2", "Pictures"), parts)


def _small(file: Path, title: str) -> Safe:
    """A picture as JPEG or PNG, whichever is smaller."""
    from PIL import Image

    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)))
    found = {}
    for kind, options in (("jpeg", {"quality": 82}), ("png", {"optimize": True})):
        stream = io.BytesIO()
        picture.save(stream, format=kind, **options)
        found[kind] = stream.getvalue()
    kind = min(found, key=lambda one: len(found[one]))
    return image(found[kind], title, kind, class_="sheet")
