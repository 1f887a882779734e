"""The catalogue: losses people use and losses that searches found, each with its declared truth.

A loss that the operators can express is written as an expression, so that it can be read, drawn, exported and
used to seed a search. The rest (losses on coordinates, losses on cosines) are plain torch modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cse_autoloss.errors import UnknownNameError
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.margin_entries import MARGIN_ENTRIES

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {entry.name: entry for entry in (*BINARY_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES, *MARGIN_ENTRIES)}
)
"""The losses by name, branch by branch."""


def list_losses(branch: str | None = None) -> tuple[Entry, ...]:
    """The losses of one branch, or all; UnknownNameError for a branch that has none."""
    if branch is None:
        return tuple(CATALOGUE.values())
    found = tuple(entry for entry in CATALOGUE.values() if entry.branch == branch)
    if not found:
        raise UnknownNameError.of("branch", branch, {entry.branch for entry in CATALOGUE.values()})
    return found
