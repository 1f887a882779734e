"""The catalogue: losses people use and losses that searches found, each with its declared truth.

A loss that the operators can express is written as an expression, so that it can be read, drawn, exported and
used to seed a search. The rest (losses on coordinates, losses on cosines) are plain torch modules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from cse_autoloss.graph import Signature
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.margin_entries import MARGIN_ENTRIES
from cse_autoloss.spaces import signature_of
from cse_autoloss.spaces.cosines import MARGIN

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {entry.name: entry for entry in (*BINARY_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES, *MARGIN_ENTRIES)}
)
"""The losses by name, signature by signature."""


def list_losses(signature: str | Signature | None = None) -> tuple[Entry, ...]:
    """The losses of one signature, or all; UnknownNameError for a name that there is not.

    Of a signature that the catalogue has nothing for, this is its default loss.
    """
    if signature is None:
        return tuple(CATALOGUE.values())
    wanted = known(signature)
    found = tuple(entry for entry in CATALOGUE.values() if entry.signature == wanted)
    if found:
        return found
    title = f"the default loss of {wanted.name}"
    return (Entry(wanted.name, title, wanted, "its signature", wanted.default, infimum=-math.inf),)


def known(signature: str | Signature) -> Signature:
    """The signature of that name, or itself; also that of margin losses, which no formula has."""
    return MARGIN if signature == MARGIN.name else signature_of(signature)
