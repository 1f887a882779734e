"""A loss shown: formula in maths, curves beside the usual losses, properties, graph.

A loss's own page, a run's page and a notebook are made of these.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from cse_autoloss.certify import Certificate, Outcome
from cse_autoloss.certify import Finding as Proved
from cse_autoloss.explain.curves import Named, Panel, panels
from cse_autoloss.explain.properties import Finding, findings
from cse_autoloss.explain.words import comparable, what_it_is
from cse_autoloss.export import draw
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.mathml import to_mathml
from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.losses import GraphLoss, ReducedLoss, load_loss, nearest
from cse_autoloss.losses.parametric import title_of
from cse_autoloss.pages import Curve, Safe, chart, details, document, el, framed, image, legend, widened
from cse_autoloss.spaces import form_of
from cse_autoloss.verification import verify

MOST_POINTS = 160
"""Points of a curve: more are not seen."""


@lru_cache(maxsize=256)
def formula_of(text: str, signature: Signature) -> Safe:
    """A loss in maths; its name or numbers where it is no formula."""
    loss = load_loss(text, signature, "none", alpha=None)
    if not isinstance(loss, GraphLoss):
        return el("code", title_of(text))
    return Safe(to_mathml(to_latex(loss.graph), block=True))


@lru_cache(maxsize=16)
def loss_parts(text: str, signature: Signature, graph: bool = False) -> Safe:
    """Everything about one loss; made once, however often a page is written.

    Args:
        text: formula, catalogue name or a parametric loss's JSON.
        signature: of the loss.
        graph: with its computation graph, which takes some time to draw.
    """
    loss = load_loss(text, signature, "none", alpha=None)
    shown = loss.graph if isinstance(loss, GraphLoss) else None
    parts: list[Any] = [el("div", formula_of(text, signature), class_="formula")]
    alias = what_it_is(loss)
    if alias:
        parts.append(el("p", "What it is: ", alias, "."))
    parts.append(curves(panels(loss, _nearest(loss))))
    parts.append(el("p", form_of(signature).reading, class_="note"))
    if shown is not None:
        parts += [_verified(shown), details("In prefix notation", el("pre", shown.formula))]
        if graph:
            parts.append(details("Computation graph", graph_image(_drawn(shown))))
    return el("div", parts)


def notebook(loss: ReducedLoss) -> str:
    """A loss as a notebook shows it; of a plain torch module its curves alone."""
    if isinstance(loss, GraphLoss):
        shown = loss_parts(loss.formula, loss.signature, graph=True)
    else:
        plain = copy(loss)
        plain.reduction = "none"
        shown = curves(panels(plain))
    return framed(document("loss", shown), grows=True)


def _nearest(loss: ReducedLoss) -> list[Named]:
    """The loss of the catalogue that is nearest to a loss, unless it is drawn already or not near at all."""
    text = comparable(loss)
    close = nearest(text, loss.signature) if text else None
    if close is None or close[1] < 0.5:
        return []
    entry = close[0]
    usual = {source for _, source in form_of(loss.signature).baselines}
    return [] if {entry.name, entry.formula} & usual else [(entry.name, entry.make("none", alpha=None))]


def curves(shown: tuple[Panel, ...]) -> Safe:
    """Loss and slope of each panel, with a key to the lines."""
    figures, entries = [], dict[str, str]()
    for panel in shown:
        looks = _looks(panel)
        entries |= {look: line.label for line, look in zip(panel.lines, looks, strict=True)}
        figures.append(el("div", [_curve(panel, looks, what) for what in ("loss", "slope")]))
    return Safe(legend(entries.items()) + el("div", figures, class_="plots"))


def _curve(panel: Panel, looks: list[str], what: str) -> Safe:
    lines = [
        Curve(line.label, _points(line.x.tolist(), getattr(line, what).tolist()), look)
        for line, look in zip(panel.lines, looks, strict=True)
    ]
    title, label = (panel.title, "loss") if what == "loss" else ("", panel.slope_label)
    return chart(
        lines, title=title, x_label=panel.x_label, y_label=label, height=150, x_ticks=4, y_range=_body(lines)
    )


def _looks(panel: Panel) -> list[str]:
    """Found lines whole, the others dashed, each in its colour."""
    own, others = iter(("c0", "c3", "c2", "c4", "c1")), iter(("c5 thin", "c1 thin", "c4 thin", "c2 thin"))
    return [next(own if line.role == "loss" else others, "c5 thin") for line in panel.lines]


def _points(xs: list[float], ys: list[float]) -> list[tuple[float, float]]:
    step = max(1, len(xs) // MOST_POINTS)
    return sorted(zip(xs, ys, strict=True))[::step]


def _body(lines: list[Curve]) -> tuple[float, float]:
    """Limits that show every curve's body; a spike at one end is cut off."""
    values = sorted(y for line in lines for _, y in line.points if y == y and abs(y) < 1e300)
    if not values:
        return -1.0, 1.0
    low, high = values[len(values) // 50], values[-1 - len(values) // 50]
    body = max(high - low, 1e-9)
    return widened((max(values[0], low - body), min(values[-1], high + body)))


def properties(found: Sequence[Finding]) -> Safe:
    """What was verified, property by property."""
    signs = {"passed": "✓", "failed": "✗", "open": "·"}
    rows = [
        el("tr", el("td", signs[one.outcome]), el("td", one.name), el("td", one.detail), class_=one.outcome)
        for one in found
    ]
    return el("table", rows, class_="checks")


def certified(certificate: Certificate) -> Safe:
    """What is proved over the whole domain, refuted by a witness, or open, property by property."""
    looks: dict[Outcome, tuple[str, str]] = {
        "proved": ("passed", "✓"),
        "refuted": ("failed", "✗"),
        "open": ("open", "·"),
    }
    must = [one for one in certificate.findings if one.required]
    told = [one for one in certificate.findings if not one.required]
    counts = [f"{n} {word}" for word in looks if (n := sum(one.outcome == word for one in must))]
    weighting = "" if certificate.alpha is None else f", with α = {certificate.alpha:g}"
    known = ", ".join(counts) or "nothing known"
    heading = f"Certificate, over the whole domain{weighting}: of what a loss must have {known}"
    return details(
        heading, [_outcomes(must, looks), el("p", "What else it is, or is not:"), _outcomes(told, looks)]
    )


def _outcomes(found: Sequence[Proved], looks: Mapping[Outcome, tuple[str, str]]) -> Safe:
    rows = [
        el(
            "tr",
            el("td", sign),
            el("td", one.outcome),
            el("td", str(one)),
            class_=look if one.required else "open",
        )
        for one in found
        for look, sign in [looks[one.outcome]]
    ]
    return el("table", rows, class_="checks")


def _verified(graph: LossGraph) -> Safe:
    verdict = verify(graph)
    word, look = (
        ("Verified", "accepted") if verdict.accepted else ("Not accepted by the verifier", "rejected")
    )
    found = properties(findings(verdict, graph.signature))
    return details(el("span", f"{word}: {verdict.reason}", class_=look), found)


def graph_image(drawing: bytes) -> Safe:
    """A drawing of a computation graph, on white paper."""
    return el("div", image(drawing, "Computation graph", class_="sheet"), class_="scroll")


def _drawn(graph: LossGraph) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return draw(graph, Path(folder, "graph.svg")).read_bytes()
