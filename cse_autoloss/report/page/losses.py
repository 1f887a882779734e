"""The found losses, each with everything that is to be seen of it, and the code of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cse_autoloss.certify import Certificate
from cse_autoloss.errors import AutoLossError
from cse_autoloss.explain.parts import certified, graph_image, loss_parts
from cse_autoloss.export import torch_source
from cse_autoloss.graph import Signature
from cse_autoloss.losses import GraphLoss, load_loss
from cse_autoloss.losses.parametric import title_of
from cse_autoloss.pages import Safe, details, el
from cse_autoloss.report.view import RunView
from cse_autoloss.spaces import form_of


def found(view: RunView) -> Safe | None:
    """A panel for each found loss, and the code of them; of a comparison all its losses, at a click each."""
    if view.command == "compare":
        return _compared(view)
    if not view.best:
        return None
    ended = view.status != "running"
    graphs = [path.read_bytes() for path in sorted(view.path("best").glob("graph*.svg"))] if ended else []
    drawn = ended and not graphs
    proved = (view.summary.get("best") or {}).get("certificate") or {}
    cards = [
        _card(slot, text, view.slots[slot], drawn, proved.get(slot))
        for slot, text in view.best.items()
        if slot in view.slots
    ]
    title = "The found losses" if len(cards) > 1 else "The found loss"
    pictures = details("Computation graph", [graph_image(one) for one in graphs]) if graphs else None
    return el("section", el("h2", title if ended else f"{title} so far"), cards, pictures, _code(view))


def _compared(view: RunView) -> Safe | None:
    """Each loss once, with the names of those that use it."""
    users: dict[tuple[str, str], list[str]] = {}
    for one in view.standings:
        for slot, text in one.losses.items():
            users.setdefault((slot, text), []).append(title_of(one.name))
    cards = [
        details(f"{slot} of {', '.join(names)}", _card(slot, text, view.slots[slot], False, None))
        for (slot, text), names in users.items()
        if slot in view.slots
    ]
    return el("section", el("h2", "The compared losses"), cards) if cards else None


def _card(
    slot: str, text: str, signature: Signature, drawn: bool, certificate: Mapping[str, Any] | None
) -> Safe:
    heading = el("h3", f"{slot} — {form_of(signature).title}")
    proved = certified(Certificate.from_dict(certificate)) if certificate else None
    try:
        return el("div", heading, loss_parts(text, signature, drawn), proved, class_="panel")
    except AutoLossError as error:  # a space of the user's, that no other process knows
        return el(
            "div", heading, el("pre", title_of(text)), el("p", str(error), class_="note"), class_="panel"
        )


def _code(view: RunView) -> Safe | None:
    """The files of best/, or the code of the best so far, each with a button that copies it."""
    files = sorted(view.path("best").glob("loss*.py")) if view.summary.get("best") else []
    texts = [(path.name, path.read_text(encoding="utf-8")) for path in files]
    if not texts:
        texts = [
            (f"{slot}.py", torch_source(loss.graph))
            for slot, text in view.best.items()
            if slot in view.slots and isinstance(loss := load_loss(text, view.slots[slot]), GraphLoss)
        ]
    if not texts:
        return None
    blocks = [
        el(
            "div", el("h3", f"Torch code — {name} ", el("button", "Copy", data_copy=f"code-{place}", type="button")),
            details(f"{text.count(chr(10))} lines, which import torch alone", el("pre", text, id=f"code-{place}")),
        )
        for place, (name, text) in enumerate(texts)
    ]  # fmt: skip
    return el("div", blocks)
