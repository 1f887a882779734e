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

    def __getitem__(self, text: str) -> Entry:
        point = called(text)
        if point is None:
            return self._entries[_ALSO.get(text, text)]
        name, inside = point
        if name in self.families:
            return self.families[name].at(self.families[name].given(inside))
        if name in self._entries:
            raise ConfigError(f"{name} has no parameters, got {text!r}")
        raise UnknownNameError.of("loss", name, self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


CATALOGUE = Catalogue(
    (*BINARY_ENTRIES, *RANKING_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES, *MARGIN_ENTRIES),
    (*FAMILIES, *MARGIN_FAMILIES, *RESIDUAL_FAMILIES),
)
"""The losses by name, signature by signature."""


def open_parameters(text: str) -> tuple[Parameter, ...]:
    """The inner parameters that a loss leaves open; a formula, or a loss without any, has none."""
    family, given = _point(text)
    return tuple(one for one in family.parameters if one.name not in given) if family else ()


def with_parameters(text: str, values: Mapping[str, float]) -> str:
    """The loss with values of its open parameters; as it is where there are none."""
    family, given = _point(text)
    return family.text({**values, **given}, given) if family else text


def _point(text: str) -> tuple[Family | None, dict[str, float]]:
    name, stated = called(text) or (text, "")
    family = CATALOGUE.families.get(name)
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
