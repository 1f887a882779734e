"""Who takes part: losses as a user writes them, completed, named and checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cse_autoloss.bench.audit import Contestant
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.compare.sources import Part, Source, read_source
from cse_autoloss.compare.units import weight_unit
from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.graph import Signature
from cse_autoloss.spaces import CLS_MULTICLASS, REG, plain_of
from cse_autoloss.spaces.cosines import MARGIN
from cse_autoloss.spaces.signatures import takes
from cse_autoloss.tasks.protocol import Task


@dataclass(frozen=True)
class Field:
    """Everyone who takes part.

    Attributes:
        contestants: in the order in which they were named; the first is what the others are compared with.
        notes: what was completed or scaled, in words.
    """

    contestants: tuple[Contestant, ...]
    notes: tuple[str, ...]


def enlist(texts: Sequence[str], task: Task) -> Field:
    """Contestants from texts.

    Args:
        texts: each a loss (see `sources.read_source`), one for each slot with + between them (`CLS+REG`), or `NAME=`
            and one of these. A slot that is not named has the task's plain loss.
        task: whose slots they are for.

    Raises:
        ConfigError: a loss that no slot takes, two losses for one slot, losses in another order than the slots', losses
            that were named before, a name given twice.
        AutoLossError: as of `sources.read_source`.
    """
    contestants: list[Contestant] = []
    notes: list[str] = []
    seen: dict[tuple[str, ...], str] = {}
    formulas: dict[str, str] = {}
    for text in texts:
        given, body = _name_of(text)
        parts, whole = _placed(body, task)
        complete = {slot: parts.get(slot) or _part(task.baselines[0][slot], task) for slot in task.slots}
        label = given or whole or " + ".join(_label(part, formulas) for part in complete.values())
        for slot in task.slots:
            if slot not in parts:
                plain = task.baselines[0][slot]
                notes.append(f"{label}: no {slot} loss was given, so it stands beside {plain}")
        same = tuple(part.digest for part in complete.values())
        if same in seen:
            raise ConfigError(f"{seen[same]} and {shorten(text)} are the same losses: name them once")
        if any(one.name == label for one in contestants):
            raise ConfigError(
                f"two contestants are called {label!r}: tell them apart, as NAME={shorten(body)}"
            )
        seen[same] = shorten(text)
        units = []
        for tunable in task.tunables:
            own = task.slots.get(tunable.slot)
            unit = weight_unit(complete[tunable.slot].text) if own and plain_of(own) == REG else 1.0
            if unit != 1:
                units.append((tunable.name, unit))
                words = tunable.name.replace("_", " ")
                notes.append(f"{label}: its {words}s are multiplied by {unit:g}, to slope like GIoU's")
        alpha = next((part.alpha for part in complete.values() if part.alpha is not None), None)
        losses = LossSet.of({slot: part.text for slot, part in complete.items()}, alpha)
        contestants.append(Contestant(label, losses, False, units=tuple(units)))
    return Field(tuple(contestants), tuple(notes))


def _name_of(text: str) -> tuple[str, str]:
    """NAME and what follows it, for NAME=LOSS; formulas have no equals sign, but a path may, and `focal(gamma=1)`."""
    name, sign, body = text.partition("=")
    if not sign or "(" in name or os.path.exists(text):
        return "", text
    if not name.strip() or not body.strip():
        raise ConfigError(f"{shorten(text)!r}: expected NAME=LOSS")
    return name.strip(), body


def _placed(text: str, task: Task) -> tuple[dict[str, Part], str]:
    """The losses of a text by slot, and the name of the whole where it has one."""
    slots = task.slots
    if "+" not in text or os.path.exists(text.strip()):
        source = read_source(text, slots)
        return {_slot_of(part, text, task, bool(source.label)): part for part in source.parts}, source.label
    pieces = [piece.strip() for piece in text.split("+")]
    wanted = "+".join(slot.upper() for slot in slots)
    if not all(pieces) or len(pieces) != len(slots):
        raise ConfigError(f"{shorten(text)!r}: expected losses written {wanted}, as focal+giou")
    sources = [read_source(piece, slots) for piece in pieces]
    placed: dict[str, Part] = {}
    for piece, slot, source in zip(pieces, slots, sources, strict=True):
        found = next((p for p in source.parts if _fits(p, slots[slot], task)), None)
        if found is None:
            for part in source.parts:
                _slot_of(part, piece, task, bool(source.label))
            hint = _reordered(pieces, sources, task)
            raise ConfigError(
                f"{shorten(text)!r}: {shorten(piece)} is no {slot} loss, and the order is {wanted}{hint}"
            )
        # A run or a file of several losses lends the one that it is asked for.
        placed[slot] = (
            replace(found, label=found.label or f"{source.label} ({slot})") if source.label else found
        )
    return placed, ""


def _reordered(pieces: Sequence[str], sources: Sequence[Source], task: Task) -> str:
    """What was probably meant, where another order fits."""
    order = []
    for signature in task.slots.values():
        fitting = [p for p, s in zip(pieces, sources) if any(_fits(q, signature, task) for q in s.parts)]
        if len(fitting) != 1:
            return ""
        order += fitting
    return f"; write {'+'.join(order)}"


def _fits(part: Part, signature: Signature, task: Task) -> bool:
    """Whether a loss may stand in a slot; margin losses may where a softmax head's logits are cosines."""
    margin = part.signature == MARGIN.name and task.cosine_scale is not None
    return takes(signature, part.signature) or (margin and signature.name == CLS_MULTICLASS.name)


def _slot_of(part: Part, text: str, task: Task, several: bool) -> str:
    for slot, signature in task.slots.items():
        if _fits(part, signature, task):
            return slot
    listed = " and ".join(dict.fromkeys(signature.name for signature in task.slots.values()))
    hint = getattr(task, "elsewhere", lambda signature: "")(part.signature)
    if hint and several:
        hint += f"; its box loss alone can be carried over, as {shorten(text.strip())} after a +"
    raise ConfigError(
        f"{shorten(text.strip())}: a {part.signature} loss, and the task {task.name} takes {listed} ones{hint}"
    )


def _part(name: str, task: Task) -> Part:
    (part,) = read_source(name, task.slots).parts
    return part


def _label(part: Part, formulas: dict[str, str]) -> str:
    """Name of a loss; formulas are numbered in the order in which they come."""
    return part.label or formulas.setdefault(part.digest, f"formula {len(formulas) + 1}")
