"""The duplicates' table: which losses went to the simulation before, by the fingerprint of their gradients."""

from __future__ import annotations

from cse_autoloss.runs import RunStore

KNOWN_LOSSES = 200_000
"""Fingerprints that a run remembers of each slot, about 100 bytes each on disk; the oldest are forgotten first."""


class KnownLosses:
    """The newest `limit` losses of each slot of a run, kept in its store.

    What a generation adds is held in memory until the generation is kept: a resumed run, which begins the
    interrupted generation anew, then knows exactly what the first attempt knew at that point. Slots know
    nothing of each other, so that generations of two slots may overlap.
    """

    def __init__(self, store: RunStore, limit: int = KNOWN_LOSSES) -> None:
        self._store = store
        self._limit = limit
        self._fresh: set[tuple[str, str]] = set()

    def __contains__(self, loss: tuple[str, str]) -> bool:
        """Whether (slot, fingerprint) is known."""
        return loss in self._fresh or self._store.fingerprint_owner(*loss) is not None

    def add(self, slot: str, fingerprint: str) -> None:
        """Note a loss of the current generation."""
        self._fresh.add((slot, fingerprint))

    def keep(self, owners: dict[tuple[str, str], int]) -> None:
        """Write the generation's losses to the store, with their candidates' ids, and forget the oldest ones."""
        for slot in {slot for slot, _ in owners}:
            self._store.claim_fingerprints(
                slot, {print_: owner for (its, print_), owner in owners.items() if its == slot}
            )
            self._store.forget_fingerprints(slot, self._limit)
        self._fresh.difference_update(owners)
