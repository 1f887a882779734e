"""What searches of a parametric loss space share: θs as candidates, and back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cse_autoloss.errors import ConfigError
from cse_autoloss.graph import Signature
from cse_autoloss.losses.parametric import ParametricLoss, make_space
from cse_autoloss.searches.protocol import Member, Proposal
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.spaces import CLS_BINARY, plain_of
from cse_autoloss.spaces.parametric import ParametricSpace, signature_of_space


def space_of(config: SearchConfig) -> ParametricSpace:
    """The space that a configuration names; s is the task's, where it says one.

    To the papers' letter (`reinforce.paper`) Search-Softmax draws a, where else it draws u.
    """
    own, scale = config.reinforce, float(getattr(config.own, "scale", 10.0))
    if own.space == "ap":
        return make_space("ap", pieces=own.intervals)
    if own.space in ("search-softmax", "search-sigmoid"):
        settings: dict[str, Any] = {"parameter": "a"} if own.paper else {}
        if own.space == "search-softmax":  # sigmoid heads have plain logits, whatever s is
            settings["scale"] = scale
        return make_space(own.space, **settings)
    if own.space != "am-lfs":
        return make_space(own.space, scale=scale)
    return make_space(
        "am-lfs",
        intervals=own.intervals,
        scale=scale,
        form=own.form,
        least_slope=own.least_slope,
        continuous=own.continuous,
    )


def space_slot(
    config: SearchConfig, slots: Mapping[str, Signature], space: ParametricSpace
) -> dict[str, Signature]:
    """The one slot that the search of a space is for.

    Raises:
        ConfigError: none of the slots takes the space's losses.
    """
    wanted = signature_of_space(space)
    fitting = {slot: signature for slot, signature in slots.items() if plain_of(signature) == wanted}
    if not fitting:
        has = ", ".join(f"{slot} ({signature.name})" for slot, signature in slots.items())
        head, detector = ("sigmoid", "one-stage") if wanted == CLS_BINARY else ("softmax", "two-stage")
        hint = (
            f"a detector with a {head} head has one: detector={detector}"
            if config.task == "detection"
            else "search=evolution searches any"
        )
        raise ConfigError(
            f"search {config.search}: {space.name} is a space of {head} losses ({wanted.name}), and "
            f"{config.task} has {has}; {hint}"
        )
    return dict(list(fitting.items())[:1])


def proposal(space: ParametricSpace, theta: Sequence[float], origin: str) -> Proposal:
    """A θ as a candidate."""
    text = ParametricLoss(space, theta).text
    return Proposal(text, hashlib.sha256(text.encode()).hexdigest()[:32], origin)


def rewards(proposals: Sequence[Proposal], trained: Sequence[Member]) -> list[float]:
    """Worth of each proposal; NaN of one that failed."""
    worth = {member.digest: member.scores[0] for member in trained if member.scores}
    return [worth.get(one.digest, math.nan) for one in proposals]


def theta_of(text: str) -> tuple[float, ...]:
    """θ of a candidate's text."""
    return tuple(float(value) for value in json.loads(text)["theta"])
