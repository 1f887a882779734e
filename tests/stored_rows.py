"""A run store for tests, and what goes into it."""

from __future__ import annotations

from typing import Any

from cse_autoloss.runs import Candidate, RunStore, Score


def add(store: RunStore, place: int = 0, **changes: Any) -> Candidate:
    values = {
        "slot": "reg",
        "formula": f"Add(I,{place})",
        "digest": f"d{place}",
        "generation": 0,
        "place": place,
        "origin": "random",
    }
    return store.add_candidate(**{**values, **changes})


def score(key: str = "k", **changes: Any) -> Score:
    values = {
        "key": key,
        "purpose": "proxy",
        "losses": {"cls": "bce", "reg": "giou"},
        "split": "val",
        "seed": 0,
        "epochs": 6,
        "settings": {"box_weight": 2.0, "lr": 0.05},
        "metrics": {"ap": 0.41, "ap50": 0.6, "ap75": 0.4},
        "seconds": 7.5,
        "extra": {"seconds_train": 6.0},
    }
    return Score(**{**values, **changes})
