"""What an audit tells of the weight of negatives: for whom it was tuned, and for whom not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cse_autoloss.losses import weighs_negatives
from cse_autoloss.losses.negatives import NEGATIVES

if TYPE_CHECKING:
    from cse_autoloss.bench.audit import Contestant

SETTING = "audit.negative_weight"


def negatives_told(
    contestants: Sequence[Contestant], slots: Sequence[str], span: tuple[float, float] | None
) -> list[str]:
    """A note, where losses of per-class sigmoids take part; else none.

    Args:
        contestants: after their tuning.
        slots: of losses of per-class sigmoids.
        span: least and greatest weight that were tried for whoever has none of its own; None where it was not tuned.
    """
    if not slots:
        return []
    own: list[str] = []
    held: list[str] = []
    whole: list[str] = []
    for one in contestants:
        texts = [one.losses[slot] for slot in slots]
        if any(map(weighs_negatives, texts)):
            own.append(one.name)
        elif NEGATIVES.name not in one.axes:
            stated = any(NEGATIVES.name in text for text in texts)
            (held if stated else whole).append(one.name)
    if span is None:
        known = f" but for {_listed(own)}, which {_has(own)} one of {_its(own)} own" if own else ""
        return [f"the weight of negatives was not tuned{known}; {SETTING} tunes everyone's"]
    low, high = span
    left = [
        f"{_listed(names)} {words}"
        for names, words in (
            (own, f"{_has(own)} one of {_its(own)} own"),
            (held, f"{_has(held)} it held"),
            (whole, f"{'is no loss' if len(whole) == 1 else 'are no losses'} of single elements"),
        )
        if names
    ]
    told = f": {', '.join(left)}" if left else ""
    return [
        f"the weight of negatives was tuned, {low:g} to {high:g} times{', but for some' if left else ''}{told}"
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _its(names: Sequence[str]) -> str:
    return "its" if len(names) == 1 else "their"
