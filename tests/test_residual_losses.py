"""Losses of regression against their formulas in numpy, and what is declared of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from points_along import along

from cse_autoloss.losses import CATALOGUE, GraphLoss, list_losses, load_loss
from cse_autoloss.losses.residual_families import RESIDUAL_FAMILIES
from cse_autoloss.spaces.signatures import REGRESSION
from cse_autoloss.verification import verify

R = np.concatenate((np.linspace(-12, 12, 97), [1e-4, -1e-4]))
Values = NDArray[np.float64]


def _huber(r: Values, delta: float = 1.0) -> Values:
    return np.where(np.abs(r) <= delta, r**2 / 2, delta * (np.abs(r) - delta / 2))


FORMULAS: dict[str, Callable[[Values], Values]] = {
    "squared-error": np.square,
    "absolute-error": np.abs,
    "huber": _huber,
    "huber(delta=0.5)": lambda r: _huber(r, 0.5),
    "pseudo-huber": lambda r: np.sqrt(1 + r**2) - 1,
    "pseudo-huber(delta=2)": lambda r: 4 * (np.sqrt(1 + (r / 2) ** 2) - 1),
    "log-cosh": lambda r: np.log(np.cosh(r)),
    "cauchy": lambda r: np.log1p(r**2),
    "cauchy(gamma=0.25)": lambda r: np.log1p((r / 0.25) ** 2),
    "welsch": lambda r: 1 - np.exp(-(r**2)),
    "welsch(c=2)": lambda r: 1 - np.exp(-((r / 2) ** 2)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_is_its_formula(name: str) -> None:
    loss = load_loss(name, REGRESSION, reduction="none")
    assert loss(torch.from_numpy(R)).numpy() == pytest.approx(FORMULAS[name](R), rel=1e-9, abs=1e-12)


def test_all_are_looked_at() -> None:
    names = [family.name for family in RESIDUAL_FAMILIES]
    assert [entry.name for entry in list_losses("regression")] == names
    assert set(names) <= set(FORMULAS)


@pytest.mark.parametrize("family", RESIDUAL_FAMILIES, ids=lambda one: one.name)
def test_what_is_declared_holds_at_each_point_that_tuning_tries(family: object) -> None:
    name = family.name  # type: ignore[attr-defined]
    for text in (name, *(point for points in along(name) for point in points)):
        entry = CATALOGUE[text]
        loss = entry.make("none")
        assert isinstance(loss, GraphLoss)
        assert verify(loss.graph).accepted, text
        r = torch.linspace(-12, 12, 241, dtype=torch.float64)
        values = loss(r)
        assert (values >= -1e-12).all()
        assert float(loss(torch.zeros(1, dtype=torch.float64))) == pytest.approx(entry.infimum, abs=1e-12)
        assert torch.allclose(values, values.flip(0))
        assert (values[120:].diff() >= -1e-12).all(), f"{text} falls as the residual grows"
        if "convex" in entry.properties:
            assert (values.diff().diff() >= -1e-9).all(), f"{text} is not convex"
