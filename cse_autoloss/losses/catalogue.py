"""The catalogue: losses people use and losses that searches found, each with its declared truth.

A loss that the operators can express is written as an expression, so that it can be read, drawn, exported and
used to seed a search. The rest (losses on coordinates, losses on cosines) are plain torch modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.graph import Signature
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.families import FAMILIES
from cse_autoloss.losses.family import Family, Parameter, called
from cse_autoloss.losses.margin_entries import MARGIN_ENTRIES, MARGIN_FAMILIES
from cse_autoloss.losses.negatives import NEGATIVES, has_own, is_weighted, weighable, weighted, with_negatives
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.losses.ranking_entries import RANKING_ENTRIES
from cse_autoloss.losses.residual_families import RESIDUAL_FAMILIES
from cse_autoloss.spaces import plain_of, signature_of
from cse_autoloss.spaces.cosines import MARGIN

_ALSO = {"softmax": "cross-entropy"}
"""Another name -> the catalogue's: the first is what the tables of margin losses call it."""


class Catalogue(Mapping[str, Entry]):
    """Entries by name. A point of a family, `focal(gamma=1)`, is found too, but not listed.

    What looks like a point and is none raises an AutoLossError, also where it is only asked whether it is there: it is
    a mistake of whoever wrote it, and no formula.
    """

    def __init__(self, entries: Iterable[Entry], families: Iterable[Family]) -> None:
        self.families = {one.name: one for one in families}
        known = {one.name: one for one in (*entries, *(family.default for family in self.families.values()))}
        order = list(dict.fromkeys(one.signature.name for one in known.values()))
        self._entries = dict(sorted(known.items(), key=lambda item: order.index(item[1].signature.name)))
        self.weighed = {
            name: with_negatives(entry, self.families.get(name))
            for name, entry in self._entries.items()
            if weighable(entry) and not (name in self.families and has_own(self.families[name]))
        }

    def __getitem__(self, text: str) -> Entry:
        point = called(text)
        if point is None:
            return self._entries[_ALSO.get(text, text)]
        name, inside = point
        family = self.family(name, NEGATIVES.name in inside)
        if family is not None:
            return family.at(family.given(inside))
        if name in self._entries:
            raise ConfigError(f"{name} has no parameters, got {text!r}")
        raise UnknownNameError.of("loss", name, self._entries)

    def family(self, name: str, negatives: bool = False) -> Family | None:
        """The family of that name; with `negatives` with the weight of negatives beside what it leaves open, where the
        loss is one of single elements of a sigmoid head and has no such weight of its own."""
        return (self.weighed.get(name) if negatives else None) or self.families.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


CATALOGUE = Catalogue(
    (*BINARY_ENTRIES, *RANKING_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES, *MARGIN_ENTRIES),
    (*FAMILIES, *MARGIN_FAMILIES, *RESIDUAL_FAMILIES),
)
"""The losses by name, signature by signature."""


def open_parameters(text: str, *, negatives: bool = False) -> tuple[Parameter, ...]:
    """The inner parameters that a loss leaves open; a formula, or a loss without any, has none.

    `negatives`: of a sigmoid head's loss, whether the weight of its negatives is one of them, where it can be weighed
    and has no such weight of its own. A formula then has this one.
    """
    family, given = _point(text, negatives)
    if family is None:
        return (NEGATIVES,) if negatives and _is_formula(text) else ()
    return tuple(one for one in family.parameters if one.name not in given)


def with_parameters(text: str, values: Mapping[str, float]) -> str:
    """The loss with values of its open parameters; as it is where there are none."""
    family, given = _point(text, NEGATIVES.name in values)
    if family is None:
        return weighted(text, values.get(NEGATIVES.name, 1.0))
    return family.text({**values, **given}, given)


def is_point_of(text: str, loss: str) -> bool:
    """Whether a text is a loss with values of what it leaves open, the weight of negatives among it."""
    if text == loss or is_weighted(text, loss):
        return True
    (name, stated), (own, inside) = called(text) or (text, ""), called(loss) or (loss, "")
    pieces = {piece.strip() for piece in stated.split(",")}
    return name == own and pieces >= {piece.strip() for piece in inside.split(",") if inside.strip()}


def weighs_negatives(text: str) -> bool:
    """Whether a loss of the catalogue has the weight of its negatives among its own parameters."""
    family = CATALOGUE.families.get((called(text) or (text,))[0])
    return family is not None and has_own(family)


def stated_weight(text: str) -> float | None:
    """The weight of negatives that a name of the catalogue states, as `bce(negative_weight=0.4)`; None for none."""
    return _point(text)[1].get(NEGATIVES.name)


def _is_formula(text: str) -> bool:
    return not is_parametric(text) and (called(text) or (text,))[0] not in CATALOGUE


def _point(text: str, negatives: bool = False) -> tuple[Family | None, dict[str, float]]:
    name, stated = called(text) or (text, "")
    family = CATALOGUE.family(name, negatives or NEGATIVES.name in stated)
    return family, family.given(stated) if family else {}


def list_losses(signature: str | Signature | None = None) -> tuple[Entry, ...]:
    """The losses of one signature, or all; UnknownNameError for a name that there is not.

    Of a signature that the catalogue has nothing for, this is its default loss.
    """
    if signature is None:
        return tuple(CATALOGUE.values())
    wanted = known(signature)
    found = tuple(entry for entry in CATALOGUE.values() if entry.signature in (wanted, plain_of(wanted)))
    if found:
        return found
    title = f"the default loss of {wanted.name}"
    return (Entry(wanted.name, title, wanted, "its signature", wanted.default, infimum=-math.inf),)


def known(signature: str | Signature) -> Signature:
    """The signature of that name, or itself; also that of margin losses, which no formula has."""
    return MARGIN if signature == MARGIN.name else signature_of(signature)
