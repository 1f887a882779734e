"""What came of a run: the sentence, the figures that matter, everyone who was compared, and what was shrunk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cse_autoloss.bench.audit_words import gain_text, seeds_text
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.bench.statistics import Interval, paired_difference
from cse_autoloss.losses.parametric import title_of
from cse_autoloss.pages import Safe, el
from cse_autoloss.pages.charts import track
from cse_autoloss.report.live import clock_face, phase_text, time_left
from cse_autoloss.report.table import NOISE
from cse_autoloss.report.view import RunView, Standing


def sentence(view: RunView) -> str:
    """What may be said, in one sentence."""
    if "verdict" in view.summary:
        return str(view.summary["verdict"])
    reference = view.reference
    others = [one for one in view.standings if one is not reference]
    if reference is not None and others and view.command == "compare":
        best = others[0]
        gain = difference(view, best, reference)
        how = f"{gain_text(view.metric, gain)} against {reference.name}" if gain else ""
        sure = "Better" if gain and gain.low > 0 else "Worse" if gain and gain.high < 0 else "Level"
        return (
            f"{sure}: the best of the others, {best.name}, is {how}, {len(best.seeds)} paired seeds. "
            f"{_uncorrected(len(others))}"
        )
    if view.command == "study":
        return "Nothing is claimed about test data before an audit: study.audit(...)."
    if view.status == "finished":
        return "Ended; an earlier version made it and kept no verdict in its store."
    if view.status == "interrupted":
        return "Interrupted before the audit, so nothing is claimed about test data."
    return "Under way: nothing is claimed before the audit on test data."


def head(view: RunView, live: RunStatus | None) -> Safe:
    """Title, sentence, cards."""
    badge = el("span", view.status, class_="badge")
    under_way = None
    if live is not None:
        left = time_left(live)
        done = f", {live.done} of {live.total} trainings" if live.total else ""
        under_way = el(
            "p", f"{phase_text(live)}{done}; {clock_face(live.elapsed)} gone{f', {left}' if left else ''}. ",
            "Reload the page for the newest.", class_="note",
        )  # fmt: skip
    return Safe(
        el("h1", view.title, badge)
        + el("p", sentence(view), class_="verdict")
        + el("div", under_way)
        + _cards(view)
    )


def _cards(view: RunView) -> Safe:
    metric, funnel, cards = view.metric, view.counts["funnel"], []
    reference = view.reference
    if reference is not None and reference.mean is not None:
        cards.append((metric.text(reference.mean), f"{metric.label} of {shown(reference.name)} on test"))
    gain = (view.summary.get("best") or {}).get("gain")
    if gain and gain["mean"] is not None and not view.summary.get("too_short"):
        cards.append(
            (metric.text(gain["mean"], sign="+"), f"{metric.label} gained over {shown(gain['over'])}")
        )
    if view.command == "compare":
        cards.append((str(len(view.standings)), "losses compared"))
    for name, words in (("generated", "losses proposed"), ("trained", "losses trained")):
        if funnel.get(name):
            cards.append((f"{funnel[name]:,}", words))
    if view.state.generation:
        cards.append((str(view.state.generation), "generations"))
    elapsed = (view.store.meta("clock") or {}).get("elapsed")
    if elapsed:
        cards.append((clock_face(elapsed), "wall time"))
    return el(
        "div", [el("div", el("b", figure), el("span", words)) for figure, words in cards], class_="cards"
    )


def _uncorrected(count: int) -> str:
    """What is to be known of gains that a run of an earlier version leaves to its page."""
    number = f"the number of comparisons, {count}, nor for " if count > 1 else ""
    return f"An earlier version made this run: nothing is corrected for {number}seeds that share a draw of the data."


def difference(view: RunView, one: Standing, other: Standing) -> Interval | None:
    """Interval of one's paired gain over another, above 0 where it is better, for runs whose store does not tell it.

    None where seeds do not pair. Neither shared draws nor the number of comparisons are allowed for.
    """
    if not one.seeds or len(one.seeds) != len(other.seeds):
        return None
    sign = view.metric.figure(1.0)
    return paired_difference([sign * value for value in one.seeds], [sign * value for value in other.seeds])


def gains(view: RunView) -> Safe | None:
    """Everyone's test figure, and the gain of the found loss over each (of a comparison: over the first); nothing of a
    run whose budget held no search."""
    rows, reference, metric = view.standings, view.reference, view.metric
    if not rows or view.summary.get("too_short"):
        return None
    toward_first = view.command == "compare"
    corrected = all(one.corrected for one in rows)
    pairs: list[Interval | None] = []
    for one in rows:
        if corrected:
            pairs.append(one.gain)
            continue
        both = (one, reference) if toward_first else (reference, one)
        same = reference is None or one is reference
        pairs.append(None if same else difference(view, *both))
    scale = _scale([v for r in rows for v in (r.low, r.high, r.mean)])
    apart = _scale([0.0, *(v for gain in pairs if gain for v in (gain.low, gain.high, gain.mean))])
    who = shown(reference.name) if reference else "the first"
    right = f"gain over {who}" if toward_first else f"gain of {who} over it"
    cells = [el("span", words, class_="figure top") for words in ("loss", f"{metric.label} on test", right)]
    for one, gain in zip(rows, pairs, strict=True):
        cells += _row(view, one, gain, scale, apart, one is reference)
    count = len(rows[0].seeds)
    if count < 2:
        how = "One seed tells nothing of the spread, so there are no intervals."
    else:
        how = f"Dots are means over {seeds_text(count, view.draws)}, bars 95 % intervals, each for itself. "
        if corrected:
            number = sum(one.told_apart is not None for one in rows)
            whom = "comparisons" if toward_first else "known losses"
            how += "Coloured gains are told apart from 0"
            how += f", by Holm's correction for {number} {whom}." if number > 1 else "."
        else:
            how += _uncorrected(len(rows) - 1)
    how += "".join(f" {told[0].upper()}{told[1:]}." for told in view.summary.get("tuning", ()) if told)
    noise = view.summary.get("paired_noise")
    if noise:
        how += f" {NOISE[0].upper()}{NOISE[1:]} ±{metric.text(noise)} (1 sd)."
    if not metric.higher:
        how += f" {metric.label}: lower is better; a gain is how much lower."
    return el(
        "section",
        el("h2", "Against all others"),
        el("div", cells, class_="rows"),
        el("p", how, class_="note"),
    )


def _row(
    view: RunView, one: Standing, gain: Interval | None, scale: tuple[float, float], apart: tuple[float, float],
    reference: bool,
) -> list[Safe]:  # fmt: skip
    metric, mean = view.metric, one.mean or 0.0
    low, high = _bounds(one.low, one.high)
    told = {**one.inner, **one.settings}
    settings = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in told.items())
    parts = " · ".join(f"{slot}: {title_of(text)}" for slot, text in one.losses.items())
    tuning = f"{one.trainings} trainings of tuning" if one.trainings else ""
    below = " · ".join(word for word in (settings, tuning) if word)
    name = el(
        "div", shown(one.name), el("div", below, class_="figure") if below else None,
        class_="name found" if one.found else "name", title=parts,
    )  # fmt: skip
    figure = metric.text(mean) + (
        f" [{metric.text(low)}, {metric.text(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
    )
    look = "c0" if one.found or reference else "c5"
    first = el("div", track(low, mean, high, scale, look), el("div", figure, class_="figure"))
    if gain is None:
        return [name, first, el("div", "—" if reference else "", class_="figure")]
    sure = bool(one.told_apart) if one.corrected else gain.low > 0 or gain.high < 0
    look = "c5" if not sure else "c2" if gain.mean > 0 else "c1"
    words = gain_text(metric, gain) if math.isfinite(gain.low) else metric.text(gain.mean, sign="+")
    if one.corrected and sure:
        words += " told apart"
    second = el(
        "div",
        track(gain.low, gain.mean, gain.high, apart, look, zero=True),
        el("div", words, class_="figure"),
    )
    return [name, first, second]


def shown(name: str) -> str:
    """A name as the page prints it: a parametric loss's text becomes its title."""
    return title_of(name)


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _scale(values: Sequence[float | None]) -> tuple[float, float]:
    found = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    room = 0.08 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room


def shrunk(view: RunView) -> Safe | None:
    """What the budget made smaller than was asked for, and what else is to be known."""
    notes = [note for note in view.notes if note]
    if not notes:
        return None
    return el(
        "section", el("h2", "What to know of these figures"), el("ul", [el("li", note) for note in notes])
    )
