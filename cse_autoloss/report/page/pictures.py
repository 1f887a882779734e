"""Pictures that the run directory holds: detections right, wrong and missed; the path of a distribution's mean."""

from __future__ import annotations

import io
import json
from pathlib import Path

from cse_autoloss.pages import Curve, Safe, chart, details, el, image, legend, table
from cse_autoloss.report.view import RunView

DETAIL = "precision_recall.json"
MOST_CURVES = 10
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
    return el("section", el("h2", "Pictures"), parts, _precision(view))


def _precision(view: RunView) -> Safe | None:
    """Precision over recall of the classes, and AP by class and size, as `predict` left them."""
    file = view.path("predictions", DETAIL)
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        classes = sorted(told["classes"].items(), key=lambda item: -item[1])
        curves = [
            Curve(
                name,
                [(place / 100, value) for place, value in enumerate(told["precision"][name])],
                f"c{rank % 6}",
            )
            for rank, (name, _) in enumerate(classes[:MOST_CURVES])
        ]
        rows = [(name, f"{100 * value:.1f}") for name, value in [*classes, *told["sizes"].items()]]
        title = str(told["title"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return el("p", f"{file.name}: can't be read ({error}); call predict again.", class_="note")
    picture = chart(
        curves, x_label="recall", y_label="precision at IoU 0.5", x_range=(0, 1), y_range=(0, 1.02)
    )
    key = legend((curve.look, curve.label) for curve in curves)
    by = details("AP by class and by size", table(rows, ("class or size", "AP")))
    return el("div", el("h3", f"Precision and recall — {title}"), key, picture, by)


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
