"""Score over time and over generations: how the search came to what it found."""

from __future__ import annotations

from cse_autoloss.pages import Curve, Dot, Safe, chart, el, legend
from cse_autoloss.report.view import RunView

MOST_DOTS = 600
"""Trainings that are drawn, evenly chosen; the best so far is drawn from all."""


def progress(view: RunView) -> Safe | None:
    """A dot for each training of the search, and the best so far, by minutes and by generation."""
    parts = [_by_time(view), _by_generation(view)]
    if not any(parts):
        return _by_epoch(view)
    looks = [(f"c{i} spot", f"{slot}, a training") for i, slot in enumerate(view.searched)]
    looks += [("c2", "best so far")]
    how = f"{view.metric.label} on validation, of the search's short trainings."
    return el("section", el("h2", "How the search went"), el("p", how, class_="note"), legend(looks), parts)


def _by_time(view: RunView) -> Safe | None:
    factor, toward = view.metric.factor, view.metric.figure(1.0)
    scores = view.store.scores("proxy", status="ok")
    if len(scores) < 2:
        return None
    minutes = [(one.created - view.started) / 60 for one in scores]
    owners = {score.key: slot for (slot, _), found in view.scored.items() for score in found}
    figures = [factor * one.metrics[view.metric.name] for one in scores]
    step = 1 + len(scores) // MOST_DOTS
    dots = [
        Dot(minutes[i], figures[i], f"c{_place(view, owners.get(scores[i].key))} faint", radius=3)
        for i in range(0, len(scores), step)
    ]
    best, line = figures[0], list[tuple[float, float]]()
    for minute, figure in zip(minutes, figures, strict=True):
        line += [(minute, best)]
        best = max(best, figure, key=lambda value: toward * value)
        line += [(minute, best)]
    return chart(
        [Curve("best so far", line, "c2")], dots, x_label="minutes since the run began", y_label="over time"
    )


def _place(view: RunView, slot: str | None) -> int:
    return view.searched.index(slot) if slot in view.searched else 0


def _by_generation(view: RunView) -> Safe | None:
    factor, toward = view.metric.factor, view.metric.figure(1.0)
    found: dict[int, list[float]] = {}
    for slot, formula in view.scored:
        row, figure = view.candidates.get((slot, formula)), view.figure(slot, formula)
        if row is not None and figure is not None:
            found.setdefault(row.generation, []).append(factor * figure)
    if len(found) < 2:
        return None
    best, line, dots = None, list[tuple[float, float]](), list[Dot]()
    for generation in sorted(found):
        here = max(found[generation], key=lambda value: toward * value)
        best = here if best is None else max(best, here, key=lambda value: toward * value)
        line.append((generation, best))
        place = generation % max(1, len(view.searched))
        dots += [Dot(generation, value, f"c{place} faint", radius=3) for value in found[generation][:40]]
    best_line = [Curve("best so far", line, "c2")]
    return chart(best_line, dots, x_label="generation", y_label="over generations", whole=True)


def _by_epoch(view: RunView) -> Safe | None:
    """Of models that are trained side by side: all of them after each epoch, and the best of each training."""
    factor, name, figure = view.metric.factor, view.metric.name, view.metric.figure
    best: dict[str, list[tuple[float, float]]] = {}
    dots: list[Dot] = []
    for score in sorted(view.store.scores("epoch", status="ok"), key=lambda one: one.epochs):
        training = str(score.extra["training"])
        best.setdefault(training, []).append((score.epochs, factor * score.metrics[name]))
        look = f"{_look(training)} faint"
        rewards = [reward for reward in score.extra["rewards"] if reward is not None]
        dots += [Dot(score.epochs, factor * figure(one), look, training, radius=3) for one in rewards]
    if not best:
        return None
    lines = [Curve(training, points, _look(training)) for training, points in best.items()]
    how = f"{view.metric.label} on validation of the models that are trained side by side, after each epoch. "
    how += "A line goes through the best model of a training; there is one for each seed and learning rate."
    looks = [("c0", "searched"), *([("c1", "control")] if any(map(_is_control, best)) else ())]
    picture = chart(lines, dots, x_label="epoch", y_label=view.metric.label, whole=True)
    return el("section", el("h2", "How the search went"), el("p", how, class_="note"), legend(looks), picture)


def _is_control(training: str) -> bool:
    return training.startswith("control-")


def _look(training: str) -> str:
    return "c1" if _is_control(training) else "c0"
