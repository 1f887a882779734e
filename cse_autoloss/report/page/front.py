"""The front of score against size as a picture; each point opens its formula."""

from __future__ import annotations

from collections.abc import Sequence

from cse_autoloss.explain.parts import formula_of
from cse_autoloss.pages import Curve, Dot, Safe, chart, details, el, legend
from cse_autoloss.report.front import Choice, choices
from cse_autoloss.report.view import RunView


def front(view: RunView) -> Safe | None:
    """A picture for each slot, and below it the losses of the front."""
    found = choices(view)
    numbered = [one for one in found if one.number]
    if not numbered:
        return None
    how = (
        "Each dot is a loss that the search trained. On the line are those that it found and that none of its smaller "
        "ones beats: click one to see its formula, and take it by ",
        el("code", f"cse-autoloss export {view.directory} --pick NUMBER -o loss.py"),
        f". The score is {view.metric.label} of the search's short trainings on validation, not of the audit.",
    )
    parts = [_slot(view, slot, [one for one in found if one.slot == slot]) for slot in view.searched]
    return el("section", el("h2", "Score against size"), el("p", how, class_="note"), parts)


def _slot(view: RunView, slot: str, found: Sequence[Choice]) -> Safe | None:
    numbered = [one for one in found if one.number]
    if not numbered:
        return None
    factor, label = view.metric.factor, view.metric.label
    line = Curve("front", [(one.size, factor * one.figure) for one in numbered], "c0")
    dots = [
        Dot(one.size, factor * one.figure, "c1" if one.known else "c5 faint", one.formula, radius=3.5)
        for one in found
        if not one.number
    ]
    dots += [
        Dot(one.size, factor * one.figure, "c0", f"{one.number}: {one.formula}", f"#front-{one.number}", 6.5)
        for one in numbered
    ]
    looks = [("c0 spot", "on the front"), ("c5 spot", "other"), ("c1 spot", "handcrafted")]
    picture = chart(
        [line],
        dots,
        title=slot if len(view.searched) > 1 else "",
        x_label="size, nodes",
        y_label=label,
        height=260,
    )
    return el("div", picture, legend(looks), [_choice(view, one) for one in numbered])


def _choice(view: RunView, one: Choice) -> Safe:
    times = f"{one.trainings} training{'s' if one.trainings > 1 else ''}"
    words = f"{one.number} — {view.metric.label} {view.metric.text(one.figure)}, {one.size} nodes, {times}"
    formula = el("div", formula_of(one.formula, view.slots[one.slot]), class_="formula")
    return details(words, formula, el("pre", one.formula), id=f"front-{one.number}", class_="choice")
