"""Searches by name: see `cse_autoloss.plugins` for where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.plugins import Registry
from cse_autoloss.searches.protocol import Search
from cse_autoloss.settings.load import SearchConfig

Starters = Mapping[str, Sequence[LossGraph]]
"""Slot -> expressions that a search may breed from before it has members."""

SearchBuilder = Callable[[SearchConfig, Mapping[str, Signature], Starters], Search]


def _fault(found: Any) -> str | None:
    if callable(found):
        return None
    return f"expected a class or function (config, slots, starters) -> Search, got {type(found).__name__}"


SEARCHES: Registry[SearchBuilder] = Registry(
    "search",
    "cse_autoloss.searches",
    {
        "evolution": "cse_autoloss.searches.evolution:make_evolution",
        "random": "cse_autoloss.searches.random:RandomSearch",
        "reinforce": "cse_autoloss.searches.reinforce.candidates:ReinforceSearch",
        "cma": "cse_autoloss.searches.cma:CmaSearch",
    },
    _fault,
)
"""Called with the configuration, the slots to search and the starters."""


def make_search(config: SearchConfig, slots: Mapping[str, Signature], starters: Starters) -> Search:
    """The search that the configuration names."""
    return SEARCHES.get(config.search)(config, slots, starters)
