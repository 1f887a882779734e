"""What a study begins with: its directory, opened or made, and the handcrafted losses of a signature."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.errors import ConfigError, RunError, UnknownNameError, shorten
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.losses import list_losses, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.runs import RunStore, holds_run
from cse_autoloss.searches.protocol import Proposal
from cse_autoloss.settings.fields import Section
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.spaces import signature_of


class StudySettings(Section):
    """What a study is of: kept in its store, so that it is gone on with as it was."""

    direction: Literal["maximize", "minimize"] = "maximize"
    slots: dict[str, Any] = {}  # noqa: RUF012


def understood(signature: Any, defaults: Any, settings: Any, directory: Any) -> dict[str, Signature]:
    """Slot -> signature, of what a study was started with; ConfigError or UnknownNameError for what it can't be."""
    for name, value, kind, words in (
        ("settings", settings, Mapping, "a dictionary"),
        ("defaults", defaults, Mapping, "a dictionary"),
        ("directory", directory, (str, os.PathLike), "a path"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}: expected {words}, got {shorten(repr(value))}")
    given = signature if isinstance(signature, Mapping) else {"loss": signature}
    if not given:
        raise ConfigError("signature: expected at least one slot, got none")
    slots = {slot: signature_of(one) for slot, one in given.items()}
    for slot, text in (defaults or {}).items():
        if slot not in slots:
            raise UnknownNameError.of("slot", str(slot), slots)
        load_loss(text, slots[slot])
    return slots


def opened(directory: Path, config: SearchConfig) -> RunStore:
    """The store of a study, made where there is none; RunError where another study or run is."""
    stated = config.model_dump(mode="json")
    if not holds_run(directory):
        return RunStore.create(directory, stated)
    store = RunStore.open(directory)
    kept = store.config
    if kept.get("task") != "study":
        store.close()
        raise RunError(f"{directory}: holds a run of another kind; give the study a directory of its own")
    if kept != stated:
        store.close()
        different = sorted(key for key in stated if kept.get(key) != stated[key])
        raise RunError(
            f"{directory}: holds a study with another {', '.join(different)}; give the same, or another directory"
        )
    return store


def handcrafted(signature: Signature, known: bool) -> list[Entrant]:
    """Losses that are expressions: the signature's default first, then, if `known`, those of the catalogue."""
    graph = parse_formula(signature.default, signature)
    found = {graph.digest: Entrant(Proposal.of(graph, "seed"), "default")}
    for entry in list_losses(signature) if known else ():
        loss = entry.make()
        if isinstance(loss, GraphLoss):
            found.setdefault(loss.graph.digest, Entrant(Proposal.of(loss.graph, "seed"), entry.name))
    return list(found.values())
