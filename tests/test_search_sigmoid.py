"""Search-Softmax's number on sigmoid heads: a margin on each logit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_samples import imported

import cse_autoloss
from cse_autoloss import export_loss, load_loss
from cse_autoloss.errors import RunError
from cse_autoloss.explain.curves import panels
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
from cse_autoloss.testing.spaces import SpaceConformance


class TestSearchSigmoid(SpaceConformance):
    def make(self) -> ParametricSpace:
        return SearchSigmoid()


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 4 * torch.randn(40, 3, generator=generator, dtype=torch.float64), torch.arange(40) % 4


def test_it_is_the_papers_formula_of_what_is_true_of_each_class() -> None:
    logits, target = _batch()
    space, theta = SearchSigmoid(), torch.tensor([0.3], dtype=torch.float64)
    a = space.a(theta)
    p = torch.where(target[:, None] == torch.arange(3), logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(space.loss(logits, target, theta), -(p / (a * p + 1 - a)).log().sum(1))


def test_without_a_margin_it_is_bce() -> None:
    logits, target = _batch()
    text = ParametricLoss(SearchSigmoid(), [-40.0]).text
    each = load_loss("bce", reduction="none")(logits, target).sum(1)
    torch.testing.assert_close(load_loss(text, reduction="none")(logits, target), each)
    target[:7] = -100
    torch.testing.assert_close(load_loss(text)(logits, target), load_loss("bce")(logits, target))


def test_it_is_written_read_and_drawn(tmp_path: Path) -> None:
    loss = load_loss(ParametricLoss(SearchSigmoid(), [0.2]).text)
    assert isinstance(loss, ParametricLoss)
    again = load_loss(export_loss(loss.text, tmp_path / "loss.json"))
    source = export_loss(loss.text, tmp_path / "loss.py").read_text()
    assert "cse_autoloss" not in source.replace("cse-autoloss", "")
    found = imported(source, tmp_path).SearchedLoss()
    logits, target = _batch()
    target[:5] = -100
    logits.requires_grad_()
    wanted = loss(logits, target)
    (slope,) = torch.autograd.grad(wanted, logits)
    for one in (again, found):
        value = one(logits, target)
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(torch.autograd.grad(value, logits)[0], slope)
    drawn = load_loss(loss.text, reduction="none")
    assert "in company" not in panels(drawn)[0].title
    assert any("BCE" in line.label for line in panels(drawn)[0].lines)


def test_a_detector_is_searched(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "reinforce__space": "search-sigmoid", "generations": 1, "reinforce__samples": 2, "executor": "inprocess",
        "device": "cpu", "own__scenes__counts": [32, 16, 16], "proxy__epochs": 0.5, "proxy__halving": [],
        "audit__finalists": 1, "audit__baselines": 1, "audit__tuning": 1, "audit__tune_epochs": 0.5,
        "audit__epochs": 0.5, "audit__seeds": 2, "audit__draws": 0, "evolution__combine_epochs": 0.5,
    }  # fmt: skip
    result = cse_autoloss.reinforce_loss("detection", out=tmp_path / "run", **options)
    (winner,) = result.summary["winners"][:1]
    assert '"name": "search-sigmoid"' in winner["losses"]["cls"]
    with pytest.raises(RunError, match="its filters rejected nothing, so there is nothing to audit"):
        cse_autoloss.audit_filters(tmp_path / "run")
    assert load_loss(str(tmp_path / "run")).space.name == "search-sigmoid"


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_mistakes_are_one_line(scale: float) -> None:
    with pytest.raises(cse_autoloss.errors.ConfigError, match="scale: expected a number above 0"):
        SearchSigmoid(scale)
