"""The family tree of a found loss: what each step changed, and what it gained."""

from __future__ import annotations

from dataclasses import dataclass

from cse_autoloss.explain.parts import formula_of
from cse_autoloss.graph import LossGraph, parse_formula
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.pages import Curve, Dot, Safe, chart, el
from cse_autoloss.report.view import RunView
from cse_autoloss.runs import Candidate

MOST = 24
"""Ancestors that are shown: the winner, its parents, theirs, and so on."""
_ORIGINS = {
    "seed": "a loss that people use",
    "random": "drawn at random",
    "crossover": "crossed from two parents",
    "subtree": "a part grown anew",
    "point": "an operator or an input changed",
    "constant": "a constant changed",
}


@dataclass(frozen=True)
class _Step:
    row: Candidate
    parents: tuple[Candidate, ...]


def family(view: RunView) -> Safe | None:
    """A list for each slot, the oldest ancestor first."""
    parts = [_slot(view, slot, text) for slot, text in view.best.items() if slot in view.slots]
    if not any(parts):
        return None
    return el("section", el("h2", "Where it comes from"), parts)


def _slot(view: RunView, slot: str, text: str) -> Safe | None:
    if view.command == "compare" or is_parametric(text) or "(" not in text:
        return None
    first = _bred(view, slot, text)
    if first is None:
        return None
    steps = _ancestors(view, slot, first)
    if len(steps) < 2 and first.formula == text:
        return None
    numbers = {one.row.digest: place for place, one in enumerate(steps, 1)}
    shown = [_shown(view, slot, one, numbers) for one in steps]
    if first.formula != text:
        words = "the same without the parts that do nothing, or with tuned weights"
        shown.append(_entry(view, slot, "end", f"As it was audited: {words}", text))
    return el("div", el("h3", slot) if len(view.slots) > 1 else None, _tree(view, slot, steps), shown)


def _tree(view: RunView, slot: str, steps: list[_Step]) -> Safe:
    """Who was bred from whom, by generation and score; a dot leads to its step below."""
    places: dict[str, tuple[float, float]] = {}
    for one in steps:
        figure = view.figure(slot, one.row.formula)
        if figure is not None:
            places[one.row.digest] = (one.row.generation, view.metric.factor * figure)
    lines = [
        Curve("bred from", [places[parent.digest], places[one.row.digest]], "c5")
        for one in steps
        for parent in one.parents
        if parent.digest in places and one.row.digest in places
    ]
    dots = [
        Dot(*places[one.row.digest], "c0", f"{number}: {one.row.formula}", f"#step-{slot}-{one.row.id}", 6)
        for number, one in enumerate(steps, 1)
        if one.row.digest in places
    ]
    if len({dot.x for dot in dots}) < 2:  # one generation is no tree
        return Safe("")
    return chart(
        lines,
        dots,
        x_label="generation",
        y_label=f"{view.metric.label} on validation",
        height=200,
        whole=True,
    )


def _bred(view: RunView, slot: str, text: str) -> Candidate | None:
    """The candidate that became the found loss: what was audited may be a shortened form of it."""
    origin = (view.store.meta("made from") or {}).get(slot, {})
    for _ in range(4):
        row = view.by_digest.get((slot, parse_formula(text, view.slots[slot]).digest))
        if row is not None or text not in origin:
            return row
        text = origin[text]
    return None


def _ancestors(view: RunView, slot: str, first: Candidate) -> list[_Step]:
    """The candidate and its ancestors, nearest first in the search, oldest first in the answer."""
    found: dict[str, _Step] = {}
    waiting = [first]
    while waiting and len(found) < MOST:
        row = waiting.pop(0)
        if row.digest in found:
            continue
        known = (view.by_digest.get((slot, digest)) for digest in row.parents)
        parents = tuple(one for one in known if one is not None)
        found[row.digest] = _Step(row, parents)
        waiting += parents
    return sorted(found.values(), key=lambda step: (step.row.generation, step.row.id))


def _shown(view: RunView, slot: str, step: _Step, numbers: dict[str, int]) -> Safe:
    row, metric = step.row, view.metric
    words = [f"{numbers[row.digest]}. Generation {row.generation}: {_ORIGINS.get(row.origin, row.origin)}"]
    if step.parents:
        words.append(
            "from " + " and ".join(str(numbers.get(one.digest, "an older one")) for one in step.parents)
        )
    figure = view.figure(slot, row.formula)
    tail: list[Safe | str] = []
    if figure is not None:
        tail.append(f"{metric.label} {metric.text(figure)}")
        known = [value for one in step.parents if (value := view.figure(slot, one.formula)) is not None]
        if known:
            toward = metric.figure(1.0)
            gain = toward * (figure - max(known, key=lambda value: toward * value))
            look = "good" if gain > 0 else "bad" if gain < 0 else None
            tail.append(el("span", f" ({metric.text(gain, sign='+')} over the better parent)", class_=look))
    change = _change(view, slot, step)
    return _entry(view, slot, str(row.id), " ".join(words), row.formula, tail, change)


def _entry(
    view: RunView, slot: str, name: str, words: str, formula: str,
    tail: list[Safe | str] | None = None, change: Safe | None = None,
) -> Safe:  # fmt: skip
    maths = el("div", formula_of(formula, view.slots[slot]), class_="formula")
    line = el("div", words, " — " if tail else None, tail, class_="note")
    return el("div", line, maths, change, class_="step", id=f"step-{slot}-{name}")


def _change(view: RunView, slot: str, step: _Step) -> Safe | None:
    """What differs from the parent that is most like it: the least part, before and after."""
    child = parse_formula(step.row.formula, view.slots[slot])
    found = [
        _difference(parse_formula(one.formula, view.slots[slot]), child, None, None)
        for one in step.parents
        if one.digest != step.row.digest
    ]
    if not found:
        return None
    before, after = min(found, key=lambda pair: len(pair[0]) + len(pair[1]))
    if after == child.formula:
        return None
    return el("div", "changed: ", el("code", before), " → ", el("code", after), class_="note")


def _difference(old: LossGraph, new: LossGraph, at: int | None, to: int | None) -> tuple[str, str]:
    """The least parts that have to be exchanged, as formulas."""
    a, b = (old.root if at is None else at), (new.root if to is None else to)
    mine, other = old.nodes[a], new.nodes[b]
    if mine.symbol == other.symbol and len(mine.args) == len(other.args):
        apart = [(i, j) for i, j in zip(mine.args, other.args, strict=True) if _text(old, i) != _text(new, j)]
        if len(apart) == 1:
            return _difference(old, new, *apart[0])
    return _text(old, a), _text(new, b)


def _text(graph: LossGraph, root: int) -> str:
    """The formula of a part."""
    node = graph.nodes[root]
    return f"{node.symbol}({','.join(_text(graph, arg) for arg in node.args)})" if node.args else node.symbol
