"""What is to be seen of the found loss's model and its best rival's: whatever the task offers, and plots of the run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from cse_autoloss.bench.statistics import mean_by_name
from cse_autoloss.pages import Curve, Dot, Safe, chart, details, el, image, legend, table
from cse_autoloss.report.page.verdict import shown
from cse_autoloss.report.view import RunView, Standing
from cse_autoloss.tasks.pictures import (
    Dots,
    Lines,
    Mark,
    Matrix,
    Photograph,
    Photographs,
    Picture,
    read_pictures,
)

WIDEST = 1200
"""Pixels; a wider plot is made smaller, so that the page stays small."""
UPRIGHT = 12
"""A matrix of more classes has their names upright above its columns, so that it fits on the page."""
_PLOTS = (
    ("plots/mu.png", "The searched distribution's mean", "By epoch, or by generation of whole trainings."),
    (
        "plots/gradient.png",
        "Gradient of the target's activation",
        "Before the search, after it, and of the exported loss. "
        "Grey, where it is known: where the net has the target's logits of its training images.",
    ),
    (
        "plots/schedule.png",
        "The losses of the search, one after another",
        "The gradient of the target's activation for the loss at the distribution's mean, dashed for the first one. "
        "Grey, where it is known: where the best net had the target's logits at the step's end.",
    ),
    (
        "plots/approximation.png",
        "Losses that people know, in this space",
        "Each curve, and dashed what the space's pieces make of it.",
    ),
)
_LOOKS: Mapping[Mark, str] = {"right": "c2", "wrong": "c1", "missed": "c0 thin"}
_MOST_ROWS = 12
"""Of a table that is open from the beginning."""


def pictures(view: RunView) -> Safe | None:
    """Of the first audited training of the two, side by side; a table of what their figures are made of."""
    pair = _pair(view)
    told = {shown(one.name): _pictures(view, one) for one in pair}
    parts: list[Safe | None] = [
        _beside(title, told) for title in dict.fromkeys(p.title for own in told.values() for p in own)
    ]
    parts.append(_parts(view, pair))
    parts += [
        el("div", el("h3", title), el("p", words, class_="note"), _small(view.path(name), title))
        for name, title, words in _PLOTS
        if view.path(name).is_file()
    ]
    if not any(parts) and view.command == "study":
        parts.append(
            el(
                "p",
                "A study's models are trained by code of your own, so there are no pictures.",
                class_="note",
            )
        )
    if not any(parts):
        return None
    return el("section", el("h2", "What its model does"), parts)


def _pair(view: RunView) -> list[Standing]:
    """The one whom the gains are of, and the best of the others that no search found."""
    first = view.reference
    if first is None:
        return []
    return [first, *[one for one in view.standings if one is not first and not one.found][:1]]


def _pictures(view: RunView, one: Standing) -> list[Picture]:
    """Of the first training that has any."""
    kept = (score.extra.get("pictures") for score in view.audited(one))
    with view.store.understood("a training's pictures"):
        return read_pictures(next(filter(None, kept), []))


def _beside(title: str, told: Mapping[str, list[Picture]]) -> Safe:
    """A picture of each; photographs, which need room, below each other."""
    own = [(name, picture) for name, found in told.items() for picture in found if picture.title == title]
    drawn = [(name, picture, _drawn(picture)) for name, picture in own]
    if isinstance(own[0][1], Photographs):
        first, *others = (
            (f"{title} with {name}", el("div", el("p", picture.words, class_="note"), body))
            for name, picture, body in drawn
            if isinstance(picture, Photographs)
        )
        return el("div", el("h3", first[0]), first[1], [details(*one) for one in others])
    cells = [el("figure", el("figcaption", f"with {name}"), body) for name, _, body in drawn]
    return el("div", el("h3", title), el("div", cells, class_="pair"))


def _drawn(picture: Picture) -> Safe:
    match picture:
        case Lines():
            return _lines(picture)
        case Dots():
            dots = [Dot(x, y, "c0 faint", radius=3) for x, y in picture.dots]
            return chart([], dots, x_label=picture.x, y_label=picture.y)
        case Matrix():
            return _matrix(picture)
        case Photographs():
            looks = legend((look, mark) for mark, look in _LOOKS.items())
            boxes = any(one.boxes for one in picture.photographs)
            return el(
                "div",
                looks if boxes else None,
                el("div", map(_photograph, picture.photographs), class_="photographs"),
            )


def _lines(picture: Lines) -> Safe:
    curves = [
        Curve(name, points, f"c{place % 6}{' thin' if place > 5 else ''}")
        for place, (name, points) in enumerate(picture.lines.items())
    ]
    inside = all(0 <= y <= 1 for curve in curves for _, y in curve.points)
    picked = chart(curves, x_label=picture.x, y_label=picture.y, y_range=(0, 1.02) if inside else None)
    key = legend((curve.look, curve.label) for curve in curves) if len(curves) > 1 else None
    return el("div", picked, key)


def _matrix(picture: Matrix) -> Safe:
    """Rows are true classes; a cell is the darker, the larger its share of the row."""
    rows = []
    for place, (name, counts) in enumerate(zip(picture.names, picture.counts, strict=True)):
        cells = [
            el(
                "td",
                count or "",
                class_="right" if column == place else "wrong",
                style=f"--share: {count / max(1, sum(counts)):.2f}",
                title=f"{count} of {name} taken for {picture.names[column]}",
            )
            for column, count in enumerate(counts)
        ]
        rows.append(el("tr", el("th", name), cells))
    head = el("tr", el("th", "true ↓ taken for →"), [el("th", name) for name in picture.names])
    look = "matrix many" if len(picture.names) > UPRIGHT else "matrix"
    return el("div", el("table", head, rows, class_=look), class_="scroll")


def _photograph(one: Photograph) -> Safe:
    """With a frame for each box, whose words are shown under the pointer; a count of each mark below."""
    below = ("wrong", "missed", "right")
    frames = [
        el("rect", el("title", f"{box.mark}: {box.words}"), x=box.corners[0], y=box.corners[1],
           width=box.corners[2] - box.corners[0], height=box.corners[3] - box.corners[1],
           class_=f"curve {_LOOKS[box.mark]}")
        for box in sorted(one.boxes, key=lambda box: below.index(box.mark))
    ]  # fmt: skip
    back = el("image", href=f"data:image/{one.image}", width=one.width, height=one.height)
    seen = el("svg", back, frames, viewBox=f"0 0 {one.width} {one.height}", width="100%", role="img")
    counts = [(mark, sum(box.mark == mark for box in one.boxes)) for mark in _LOOKS]
    words = ", ".join(f"{count} {mark}" for mark, count in counts) if one.boxes else None
    return el("figure", seen, el("div", words, class_="figure") if words else None)


def _parts(view: RunView, pair: list[Standing]) -> Safe | None:
    """What the figures are made of, the mean over the audited trainings: AP by class and by size."""
    told = {
        shown(one.name): mean_by_name([score.extra.get("parts", {}) for score in view.audited(one)])
        for one in pair
    }
    names = list(dict.fromkeys(name for own in told.values() for name in own))
    if not names:
        return None
    text = view.metric.text
    rows = [(name, *(text(own[name]) if name in own else "" for own in told.values())) for name in names]
    words = "By part, mean over the seeds"
    return details(words, table(rows, ("", *told)), open_=len(rows) <= _MOST_ROWS)


def _small(file: Path, title: str) -> Safe:
    """A plot no wider than it is shown."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDEST, picture.height))
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return image(stream.getvalue(), title, "png", class_="sheet")
