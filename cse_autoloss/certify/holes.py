"""Operators that have no real value somewhere, as Log and Sqrt of a negative number."""

from __future__ import annotations

from functools import lru_cache

import torch

from cse_autoloss.operators import ALL_OPERATORS

_PROBES = torch.tensor((-1e15, -3.0, -1e-13, 0.0, 1e-13, 3.0, 1e15), dtype=torch.float64)


@lru_cache(maxsize=64)
def has_holes(symbol: str) -> bool:
    """Whether an operator of one argument has no real value somewhere."""
    operator = ALL_OPERATORS.get(symbol)
    if operator is None or operator.arity > 1:
        return False
    return bool(operator.torch(_PROBES).isnan().any())
