"""Draw the pictures of docs/how_it_works.md: `python scripts/docs_drawings.py` writes docs/images/*.svg anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
INK, SOFT, LINE = "#1F2933", "#4A5663", "#9AA5B1"
GREY, BLUE, ORANGE, GREEN = (
    ("#EEF1F4", LINE),
    ("#E3F1FA", "#0072B2"),
    ("#FFF3DC", "#E69F00"),
    ("#DFF1EA", "#00795B"),
)
RED = ("#FBE5DC", "#B3450A")
Colours = tuple[str, str]


class Drawing:
    """Shapes and words on a white card."""

    def __init__(self, name: str, title: str, width: int, height: int) -> None:
        self.name, self.title, self.width, self.height = name, title, width, height
        self.parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, size: int = 13, bold: bool = False, anchor: str = "middle"
    ) -> None:
        """Words whose base line is at y."""
        weight, fill = ("bold", INK) if bold else ("normal", SOFT)
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
            f'text-anchor="{anchor}">{escape(words)}</text>'
        )

    def shape(self, points: list[tuple[float, float]], colours: Colours) -> None:
        """A filled polygon."""
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polygon points="{corners}" fill="{colours[0]}" stroke="{colours[1]}" stroke-width="1.3"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, colours: Colours) -> None:
        """A filled rectangle."""
        self.shape([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colours)

    def line(
        self, points: list[tuple[float, float]], colour: str = LINE, width: float = 1.5, dash: str = ""
    ) -> None:
        """A line through points."""
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="{width}"'
            + (f' stroke-dasharray="{dash}"/>' if dash else "/>")
        )

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def curve(
        self, function: Callable[[float], float], left: float, base: float, wide: float, colour: str
    ) -> None:
        """y = function(x), x from -4 to 4, on a place that is `wide` wide; 30 units high for each 1."""
        steps = [-4 + 8 * step / 120 for step in range(121)]
        self.line([(left + wide * (x + 4) / 8, base - 30 * function(x)) for x in steps], colour, 2.4)

    def write(self) -> None:
        """Into docs/images."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="DejaVu Sans, Verdana, sans-serif"><title>{escape(self.title)}</title>'
            f'<rect width="{self.width}" height="{self.height}" rx="10" fill="#FFFFFF"/>'
        )
        (IMAGES / f"{self.name}.svg").write_text("\n".join([head, *self.parts, "</svg>\n"]), encoding="utf-8")


def funnel() -> None:
    """The stages, each narrower than the one before."""
    drawing = Drawing("funnel", "The funnel: each stage is dearer, and fewer losses reach it", 860, 250)
    stages = [
        ("make", "formulas", "evolution, random, …", GREY),
        ("verify", "microseconds", "points the right way?", BLUE),
        ("simulate", "milliseconds", "does a small net learn?", BLUE),
        ("train", "seconds", "score on validation", ORANGE),
        ("audit", "minutes", "against known losses", GREEN),
    ]
    for place, (name, cost, what, colours) in enumerate(stages):
        left, high, next_high = 20 + 166 * place, 80 - 11 * place, 80 - 11 * (place + 1)
        drawing.shape(
            [
                (left, 100 - high),
                (left + 154, 100 - next_high),
                (left + 154, 100 + next_high),
                (left, 100 + high),
            ],
            colours,
        )
        drawing.text(left + 77, 98, name, 17, bold=True)
        drawing.text(left + 77, 117, cost, 12)
        drawing.text(left + 77, 204, what, 12)
    drawing.line([(595, 212), (595, 236), (97, 236), (97, 212)], ORANGE[1], 1.5, "5 4")
    drawing.text(346, 229, "scores breed the next ones", 12)
    drawing.write()


def verification() -> None:
    """A loss that falls with the logit of a positive, and one that does not."""
    drawing = Drawing(
        "verification", "A walk towards the right answer: the loss must fall all the way", 860, 220
    )
    cases: list[tuple[str, Callable[[float], float], Colours, str]] = [
        ("accepted: falls everywhere", lambda x: math.log1p(math.exp(-x)), GREEN, "log(1 + exp(−x))"),
        (
            "rejected: rises from −0.5 to 0.4",
            lambda x: math.log1p(math.exp(-x)) + 0.9 * math.exp(-((x - 0.6) ** 2)),
            RED,
            "log(1 + exp(−x)) + 0.9·exp(−(x − 0.6)²)",
        ),
    ]
    for place, (verdict, loss, colours, formula) in enumerate(cases):
        left = 40 + 420 * place
        drawing.line([(left, 160), (left + 360, 160)])
        drawing.curve(loss, left, 160, 360, colours[1])
        for step in range(17):
            x = -4 + step / 2
            drawing.dot(left + 360 * (x + 4) / 8, 160 - 30 * loss(x), 3.2, colours[1])
        drawing.text(left + 180, 24, formula, 13, bold=True)
        drawing.text(left + 180, 180, "logit of a positive →", 12)
        drawing.text(left + 180, 204, verdict, 14, bold=True)
    drawing.write()


def certificate() -> None:
    """Bisection: pieces of the domain, each proved, or halved again, down to a witness."""
    drawing = Drawing(
        "certificate", "Intervals: pieces of the domain are halved until each is decided", 860, 232
    )
    rows = [
        "the slope over the whole domain: unknown",
        "halved: the left half is proved",
        "halved again, where it is open",
        "proved everywhere",
    ]
    splits: list[list[tuple[float, Colours]]] = [
        [(1, GREY)],
        [(0.5, GREEN), (0.5, GREY)],
        [(0.5, GREEN), (0.25, GREY), (0.25, GREEN)],
        [(0.5, GREEN), (0.125, GREEN), (0.125, GREEN), (0.25, GREEN)],
    ]
    for place, (words, pieces) in enumerate(zip(rows, splits, strict=True)):
        left, top = 24.0, 18.0 + 50 * place
        for share, colours in pieces:
            drawing.box(left, top, 440 * share - 4, 32, colours)
            left += 440 * share
        drawing.text(490, top + 21, words, 14, anchor="start")
    drawing.text(24, 224, "logit −100", 12, anchor="start")
    drawing.text(460, 224, "100", 12, anchor="end")
    drawing.write()


def audit() -> None:
    """Pairs of scores by seed, and the interval of their differences."""
    drawing = Drawing(
        "audit", "Paired seeds: what a seed does to everybody drops out of the difference", 860, 230
    )
    known, gains = [0.50, 0.62, 0.43, 0.56, 0.67], [0.08, 0.06, 0.09, 0.05, 0.07]
    drawing.text(230, 24, "score on test, each seed on its own draw", 13, bold=True)
    for place, (low, gain) in enumerate(zip(known, gains, strict=True)):
        x = 70 + 80 * place
        a, b = 330 - 300 * low - 20, 330 - 300 * (low + gain) - 20
        drawing.line([(x, a), (x, b)], LINE, 1.5)
        for y, colours in ((a, BLUE), (b, ORANGE)):
            drawing.dot(x, y, 6, colours[1])
        drawing.text(x, 212, f"seed {place}", 12)
    drawing.text(645, 24, "difference, found − known", 13, bold=True)
    middle, scale, zero = 110, 2600, 500
    for place, gain in enumerate(gains):
        drawing.dot(zero + scale * gain, middle - 34 + 6 * (place % 2), 4, SOFT)
    mean = sum(gains) / 5
    deviation = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 4)
    half = 2.776 * deviation / math.sqrt(5)  # Student's t of four degrees of freedom
    drawing.line([(zero, 50), (zero, 160)], LINE, 1.5, "5 4")
    drawing.line(
        [(zero + scale * (mean - half), middle), (zero + scale * (mean + half), middle)], GREEN[1], 4
    )
    drawing.dot(zero + scale * mean, middle, 7, GREEN[1])
    drawing.text(zero, 178, "0: no better", 12)
    drawing.text(zero + scale * mean, 140, "mean and 95 % interval", 12)
    for x, colours, words in ((500, BLUE, "known loss"), (640, ORANGE, "found loss")):
        drawing.dot(x, 208, 6, colours[1])
        drawing.text(x + 14, 212, words, 12, anchor="start")
    drawing.write()


if __name__ == "__main__":
    for draw in (funnel, verification, certificate, audit):
        draw()
