"""What the branches' variables are called in exported code, and in a few words to people."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLE_NAMES: Mapping[str, str] = {
    "X": "logits",
    "Y": "one_hot",
    "Z": "quality",
    "Q": "quality",
    "PY": "positive",
    "NY": "negative",
    "I": "inter",
    "U": "union",
    "E": "enclosing",
}
"""Python names."""

MEANINGS: Mapping[str, str] = {
    "X": "logits",
    "Y": "one-hot target",
    "Z": "IoU of a positive, else 1",
    "Q": "IoU at a positive's class, else 0",
    "PY": "one-hot target",
    "NY": "1 - y",
    "I": "area of the intersection",
    "U": "area of the union",
    "E": "area of the enclosing box",
}
"""For legends."""
