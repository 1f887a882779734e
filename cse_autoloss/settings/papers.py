"""What `reinforce.paper` asks of the other settings, so that a run is the papers'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SETTINGS: Final[Mapping[str, Any]] = {
    "form": "bounded",
    "continuous": False,
    "sigma_decay": 1.0,
    "antithetic": False,
    "rank_rewards": False,
    "reward_baseline": "mean",
    "sigma_lr": 0.0,
    "reuse": 0,
}
"""Key of `reinforce` -> its value in the papers of AM-LFS and Search-Softmax."""

LETTER: Final = "paper is the papers' letter"
"""What is said of a setting that is not theirs."""

SAMPLES: Final = 32
"""AM-LFS's B. That of Search-Softmax is not known to us, and stays free."""


def papers_of(space: str) -> dict[str, Any]:
    """Key of `reinforce` -> its value in the paper of a space."""
    return {**SETTINGS, "samples": SAMPLES} if space == "am-lfs" else dict(SETTINGS)


def unlike_papers(space: str, told: Mapping[str, Any]) -> str:
    """The first setting that is not the papers', in words; empty where there is none."""
    for key, value in papers_of(space).items():
        if told[key] != value:
            shown, got = (
                str(one).lower() if isinstance(one, bool) else repr(one) for one in (value, told[key])
            )
            return f"{key}: {LETTER}: expected {shown}, got {got}"
    return ""


def packaged_as_papers(values: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration of the package says, less what nobody asked for and the papers have otherwise.

    Args:
        values: of the package's file.
        options: a person's, over it; all that they say stays.
    """
    told = [one.get("reinforce") for one in (values, options)]
    asked = {key: value for one in told if isinstance(one, Mapping) for key, value in one.items()}
    if str(asked.get("paper", False)).lower() not in ("true", "yes", "on", "1"):
        return dict(values)
    kept = {key: value for key, value in values.items() if key != "metric" or values.get("task") != "faces"}
    if isinstance(kept.get("reinforce"), Mapping):
        papers = papers_of(str(asked.get("space", "am-lfs")))
        kept["reinforce"] = {key: value for key, value in kept["reinforce"].items() if key not in papers}
    return kept
