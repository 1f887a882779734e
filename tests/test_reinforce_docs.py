"""The guide's space of one's own runs as it is printed, and the suite finds what is wrong with another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cse_autoloss import reinforce_loss
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.errors import RunError
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.spaces.search_softmax import SearchSoftmax
from cse_autoloss.testing.spaces import SpaceConformance

GUIDE = Path(__file__).parents[1] / "docs" / "reinforce_spaces.md"
TINY: dict[str, Any] = {
    "reinforce.seeds": 1,
    "device": "cpu",
    "own.train_limit": 100,
    "own.epochs": 3,
    "reinforce.samples": 2,
    "reinforce.baselines": ["softmax"],
    "reinforce.lr_factors": [1.0],
    "reinforce.selection_control": False,
}


class Stop(Exception):
    """Ends a run in the middle."""


class _StopAt:
    def update(self, status: RunStatus) -> None:
        if "searched-0-1: epoch 2/3" in status.message:
            raise Stop


def _scope() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, Any] = {"__name__": "guide"}
    exec(code, scope)
    return scope


def _failures(suite: SpaceConformance) -> set[str]:
    failed = set()
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except AssertionError:
                failed.add(name)
    return failed


def test_the_guides_space_passes_and_is_searched(tmp_path: Path) -> None:
    scope = _scope()
    assert _failures(scope["TestPoly"]()) == set()
    space = scope["Poly"]()
    expected = reinforce_loss(out=tmp_path / "whole", **TINY, space=space).summary
    assert expected["space"] == "poly"
    assert expected["mu"]["parameters"] == ["epsilon"]
    assert expected["mu"]["end"] != expected["mu"]["start"]
    best = tmp_path / "whole" / "best"
    assert (best / "loss.json").is_file()
    assert not (best / "loss.py").exists()
    loss = ParametricLoss(space, expected["mu"]["end"])
    assert bool(loss(torch.zeros(2, 3), torch.tensor([0, 2])).isfinite())

    broken = tmp_path / "broken"
    with pytest.raises(Stop):
        reinforce_loss(out=broken, **TINY, space=space, observer=_StopAt())
    with pytest.raises(RunError, match=r'a space of your own, \{"name": "poly"\}; go on with it from Python'):
        reinforce_loss(resume=broken)
    found = reinforce_loss(resume=broken, space=space).summary
    assert found["mu"] == expected["mu"]
    assert found["winners"] == expected["winners"]


class _Rises(SearchSoftmax):
    """The wrong sign."""

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        return -super().loss(logits, target, theta)


class _Idle(SearchSoftmax):
    """A parameter without effect."""

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        return super().loss(logits, target, 0 * theta)


class _Detached(SearchSoftmax):
    """A gradient that is not that of the values."""

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        value = super().loss(logits, target, theta)
        return value + value.detach()


class _Overflows(SearchSoftmax):
    """Softmax as one should not write it."""

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        shares = logits.exp() / logits.exp().sum(-1, keepdim=True)
        return self.margin(theta) * 1e-3 - shares.gather(-1, target.unsqueeze(-1)).squeeze(-1).log()


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (_Rises, {"test_values_and_slopes_are_finite_and_the_slopes_have_the_right_sign"}),
        (_Idle, {"test_every_parameter_matters_near_the_start"}),
        (_Detached, {"test_the_gradient_is_that_of_the_values"}),
        (
            _Overflows,
            {
                "test_values_and_slopes_are_finite_and_the_slopes_have_the_right_sign",
                "test_every_parameter_matters_near_the_start",
            },
        ),
    ],
)
def test_the_suite_finds_what_is_wrong(space: type[SearchSoftmax], names: set[str]) -> None:
    class Suite(SpaceConformance):
        range = 200.0

        def make(self) -> SearchSoftmax:
            return space()

    failed = _failures(Suite())
    assert names <= failed
    assert space is _Overflows or names == failed
