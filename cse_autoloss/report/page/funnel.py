"""How many losses came to each stage, why the others were stopped, and examples of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10

from cse_autoloss.errors import AutoLossError
from cse_autoloss.explain.parts import formula_of
from cse_autoloss.pages import Safe, details, el
from cse_autoloss.pages.charts import bar
from cse_autoloss.report.view import RunView

_STAGES = (
    ("generated", "proposed", "by the search"),
    ("verified", "verified", "right slopes, and no loss like it before"),
    ("simulated", "simulated", "a small model learns with it"),
    ("trained", "trained", "trained and scored"),
)
_REASONS = {
    "verify": "Stopped by the verification",
    "simulate": "Stopped by the simulation",
    "proxy": "Stopped in or before the trainings",
}
MOST_REASONS = 10
_LONG = 300
"""Characters of a formula above which an example is not set in maths."""


def funnel(view: RunView) -> Safe | None:
    """Bars on a scale of orders of magnitude, and the reasons below."""
    counts: Mapping[str, int] = view.counts["funnel"]
    if not counts.get("generated"):
        return None
    most, before, cells = counts["generated"], 0, list[Safe]()
    for name, word, meaning in _STAGES:
        count = counts.get(name, 0)
        if not count and name == "simulated":
            continue
        share = f" — {count / before:.1%} of those before" if before else ""
        words = el("div", f"{meaning}{share}", class_="figure note")
        cells += [el("div", el("span", f"{count:,}", class_="count"), el("div", word, class_="note"))]
        cells += [el("div", bar(_magnitude(count, most), "c0"), words)]
        before = count
    twins = counts.get("duplicates", 0)
    note = (
        f"{twins:,} had the same gradients as an earlier loss and were not looked at again. " if twins else ""
    )
    return el(
        "section", el("h2", "The funnel"), el("div", cells, class_="bars"),
        el("p", f"{note}The bars' lengths are orders of magnitude.", class_="note"), _reasons(view),
    )  # fmt: skip


def _magnitude(count: int, most: int) -> float:
    """Share of the longest bar, by digits: a funnel has stages a thousandfold apart."""
    return log10(1 + count) / log10(1 + most) if count else 0.0


def _reasons(view: RunView) -> list[Safe]:
    parts = []
    for stage, codes in view.counts["rejected"].items():
        if not codes:
            continue
        ordered = sorted(codes.items(), key=lambda item: -item[1])[:MOST_REASONS]
        rows = [
            cell for code, number in ordered for cell in _reason(view, stage, code, number, ordered[0][1])
        ]
        total = f" ({sum(codes.values()):,})"
        parts.append(details(f"{_REASONS.get(stage, stage)}{total}", el("div", rows, class_="bars")))
    return parts


def _reason(view: RunView, stage: str, code: str, number: int, most: int) -> tuple[Safe, Safe]:
    examples = view.store.stopped(stage, code)
    shown: list[Safe] = []
    for candidate, verdict in examples:
        place = f" (at {verdict.where})" if verdict.where else ""
        shown.append(el("li", _maths(view, candidate.slot, candidate.formula), f" {verdict.reason}{place}"))
    words = code.replace("-", " ")
    body = details(f"{words}: examples", el("ul", shown)) if shown else el("div", words, class_="note")
    return el("div", f"{number:,}", class_="count"), el("div", bar(number / most, "c5"), body)


def _maths(view: RunView, slot: str, formula: str) -> Safe:
    if slot not in view.slots or len(formula) > _LONG:
        return el("code", formula)
    try:
        return formula_of(formula, view.slots[slot])
    except AutoLossError:
        return el("code", formula)
