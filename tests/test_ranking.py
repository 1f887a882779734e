"""Losses that see a batch as one ranking: against pairs made one by one, in float64, and in a task."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cse_autoloss import explain_loss, export_loss, find_alike, load_loss
from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.explain.curves import panels
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.searches.parametric import space_slot
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import CLS_BINARY, CLS_MULTICLASS, REG
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.step_sums import Curve, StepSums, gathered
from cse_autoloss.tasks.registry import section_of
from cse_autoloss.testing.spaces import WholeSpaceConformance


class TestApSpace(WholeSpaceConformance):
    def make(self) -> ParametricSpace:
        return ApSpace()


def drawn(seed: int, rows: int = 60, columns: int = 5, size: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    target = torch.randint(0, columns + 3, (rows,), generator=generator).clamp(max=columns)
    return logits, target, torch.rand(rows, generator=generator, dtype=torch.float64)


def parts(logits: Tensor, target: Tensor, iou: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positives' logits, all others, and the positives' IoU."""
    rows = (target < logits.shape[1]).nonzero().squeeze(1)
    mine = torch.zeros_like(logits, dtype=torch.bool)
    mine[rows, target[rows]] = True
    return logits[rows, target[rows]], logits[~mine], iou[rows]


def curve(*heights: float) -> Curve:
    return Curve(torch.linspace(-2, 3, len(heights), dtype=torch.float64), torch.tensor(heights).double())


# --- sums over pairs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.1, 3.0, 50.0])
def test_sums_are_those_over_all_pairs(dtype: torch.dtype, size: float) -> None:
    generator = torch.Generator().manual_seed(1)
    h = curve(0, 0.1, 0.1, 0.9, 1)
    centres = torch.randn(30, generator=generator, dtype=torch.float64)
    centres[3] = centres[5]
    scores = (size * torch.randn(500, generator=generator)).to(dtype)
    weights = torch.rand(500, generator=generator, dtype=torch.float64)
    back = torch.rand(30, generator=generator, dtype=torch.float64)
    x = (scores.double() - centres[:, None]).requires_grad_()
    (slope,) = torch.autograd.grad(h(x).sum(), x)
    steps = StepSums(centres, h)
    tally = steps.tally(scores, weights)
    close = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(steps.values(tally), (h(x) * weights).sum(1).detach(), **close)
    torch.testing.assert_close(steps.slopes(tally), (slope * weights).sum(1), **close)
    pulls = gathered(steps.pulls(back), tally, scores)
    torch.testing.assert_close(pulls.double(), (back[:, None] * slope).sum(0), **close)
    spread = steps.spread(back, tally, scores)
    torch.testing.assert_close(spread.double(), (back[:, None] * h(x)).sum(0).detach(), **close)


def test_pairs_are_never_made() -> None:
    """1,500 positives and 400,000 other logits: as pairs nearly five gigabytes."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 20, generator=generator, requires_grad=True)
    target = torch.full((20_000,), 20)
    target[:1500] = torch.randint(0, 20, (1500,), generator=generator)
    for loss in (ParametricLoss(ApSpace(), ApSpace().start), load_loss("rank-sort"), load_loss("alrp")):
        value = loss(logits, target, torch.rand(20_000, generator=generator))
        (slope,) = torch.autograd.grad(value, logits)
        assert math.isfinite(value.item())
        assert bool(slope.isfinite().all())
        assert bool(slope.any())


# --- the space


def by_pairs(space: ApSpace, theta: Tensor, logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    negative, positive, quality, power = space.curves(theta)
    own, others, w = parts(logits, target, iou)
    g = quality(w)
    above = positive(own - own[:, None]) * (1 - torch.eye(len(own), dtype=torch.float64))
    precision = (1 + above @ g) / (1 + above.sum(1) + negative(others - own[:, None]).sum(1))
    return g * (-precision.log() if power == 0 else (1 - precision**power) / power)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_the_space_is_its_formula_and_the_gradient_autograds(power: float) -> None:
    logits, target, iou = drawn(2)
    logits.requires_grad_()
    space = ApSpace(3)
    theta = torch.tensor(space.start).double() + 0.5 * torch.randn(
        13, generator=torch.Generator().manual_seed(3)
    )
    theta[-1] = power
    wanted = by_pairs(space, theta, logits, target, iou)
    values = space.loss(logits, target, theta, iou)[target < 5]
    torch.testing.assert_close(values, wanted, rtol=1e-10, atol=1e-12)
    weights = torch.linspace(-1, 2, len(wanted), dtype=torch.float64)
    slopes = [torch.autograd.grad(found @ weights, logits)[0] for found in (values, wanted)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)


def test_sharp_steps_are_the_average_precision() -> None:
    logits, target, _ = drawn(4)
    space = ApSpace(1, 1e-9)
    theta = torch.tensor([0.0, 0.0, 40.0, 0.0, 0.0, 0.0, 1.0])  # γ is 1 from its start on
    own, others, _ = parts(logits, target, torch.ones(60))
    order = torch.cat((own, others)).argsort(descending=True)
    hits = (order < len(own)).double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    found = ParametricLoss(space, [*theta[:2], 3.0, -3.0, 0.0, 0.0, 1.0])(logits, target)
    assert found.item() == pytest.approx(1 - ((precision * hits).sum() / hits.sum()).item(), abs=1e-6)


def test_the_power_decides_whether_an_untrained_model_learns() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = (-3 + 0.1 * torch.randn(5000, 10, generator=generator)).requires_grad_()
    target = torch.full((5000,), 10)
    target[:20] = 0
    sizes = []
    for power in (0.0, 1.0):
        space = ApSpace()
        loss = ParametricLoss(space, [*space.start[:-1], power])
        sizes.append(torch.autograd.grad(loss(logits, target), logits)[0].abs().sum().item())
    assert sizes[0] > 1000 * sizes[1] > 0


def test_a_badly_placed_positive_above_a_good_one_is_a_mistake() -> None:
    loss = ParametricLoss(ApSpace(), ApSpace().start, "sum")
    logits, target = torch.tensor([[0.5], [0.0], [-9.0]], requires_grad=True), torch.tensor([0, 0, 1])
    right, wrong = (loss(logits, target, torch.tensor(iou)) for iou in ([0.9, 0.1, 0.0], [0.1, 0.9, 0.0]))
    assert wrong > right
    (slope,) = torch.autograd.grad(wrong, logits)
    assert slope[0] > 0 > slope[1]


@pytest.mark.parametrize("name", ["ap", "ap-loss", "alrp", "rank-sort"])
def test_batches_at_the_edge(name: str) -> None:
    loss = ParametricLoss(ApSpace(), ApSpace().start) if name == "ap" else load_loss(name)
    logits = torch.randn(6, 3, requires_grad=True)
    nothing = loss(logits, torch.full((6,), 3))
    assert nothing.item() == 0
    nothing.backward()
    assert logits.grad is not None
    assert not bool(logits.grad.any())
    alone = loss(logits[:1, :1], torch.tensor([0]))
    assert alone.item() == pytest.approx(0.0, abs=1e-6)
    bad = logits.detach().clone()
    bad[0, 0] = torch.nan
    assert math.isnan(loss(bad, torch.tensor([0, 3, 3, 3, 1, 2])).item())
    assert loss(logits.half(), torch.tensor([0, 3, 3, 3, 1, 2])).dtype == torch.float32
    with pytest.raises(DataError, match="3 is the background"):
        loss(logits, torch.full((6,), 4))


# --- the error-driven ones


def ramp(x: float, delta: float) -> float:
    return min(1.0, max(0.0, x / (2 * delta) + 0.5))


def error_driven(kind: str, logits: Tensor, target: Tensor, iou: Tensor) -> tuple[list[float], Tensor]:
    """Values and gradient of their sum, positive by positive and pair by pair, as the papers state them."""
    columns, delta = logits.shape[1], 0.5 if kind == "rank-sort" else 1.0
    places = [(r, int(c)) for r, c in enumerate(target) if c < columns]
    others = [(r, c) for r in range(len(target)) for c in range(columns) if (r, c) not in places]
    w = {place: float(iou[place[0]]) for place in places}
    grad, values = torch.zeros_like(logits), []
    for i in places:
        h = {j: ramp(float(logits[j] - logits[i]), delta) for j in (*places, *others)}
        false = sum(h[n] for n in others)
        lower = sum(h[k] for k in places if k != i) + (0.5 if kind == "rank-sort" else 1.0)
        error = value = false / (lower + false)
        if kind == "alrp":
            error = (false + sum(h[k] * (1 - w[k]) for k in places if k != i)) / (lower + false)
        if false > 0:
            grad[i] -= error
            for n in others:
                grad[n] += error * h[n] / false
        if kind == "rank-sort":
            better = [k for k in places if w[k] >= w[i]]
            now = sum(h[k] * (1 - w[k]) for k in places) / sum(h[k] for k in places)
            best = sum(h[k] * (1 - w[k]) for k in better) / sum(h[k] for k in better)
            wrong = {k: h[k] for k in places if w[k] < w[i]}
            if sum(wrong.values()) > 0:
                grad[i] -= now - best
                for k, share in wrong.items():
                    grad[k] += (now - best) * share / sum(wrong.values())
            value += now - best
        values.append(value)
    return values, grad


@pytest.mark.parametrize("kind", ["ap-loss", "alrp", "rank-sort"])
@pytest.mark.parametrize("size", [0.3, 4.0])
def test_error_driven_losses_are_their_papers(kind: str, size: float) -> None:
    logits, target, iou = drawn(6, rows=20, columns=3, size=size)
    values, grad = error_driven(kind, logits, target, iou)
    logits.requires_grad_()
    found = load_loss(kind, reduction="none")(logits, target, iou)
    torch.testing.assert_close(
        found[target < 3], torch.tensor(values, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )
    (slope,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(slope, grad, rtol=1e-9, atol=1e-12)
    mean = load_loss(kind)(logits, target, iou)
    assert mean.item() == pytest.approx(sum(values) / len(values))


def test_rank_sort_looks_at_some_positives_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target, iou = drawn(7)
    logits.requires_grad_()
    found = []
    for pairs in (1 << 20, 100):
        monkeypatch.setattr("cse_autoloss.losses.ranking.PAIRS", pairs)
        value = load_loss("rank-sort")(logits, target, iou)
        found += [value.detach(), *torch.autograd.grad(value, logits)]
    torch.testing.assert_close(found[:2], found[2:])


def test_what_they_have_no_use_for_is_told() -> None:
    with pytest.raises(ConfigError, match="alrp: takes class indices alone"):
        load_loss("alrp", alpha=0.3)
    with pytest.raises(ConfigError, match="alrp: takes class indices alone"):
        load_loss("alrp", targets="mask")
    logits, target, iou = drawn(9)
    kept = load_loss("alrp")(logits[5:], target[5:], iou[5:])
    target[:5] = -7
    torch.testing.assert_close(load_loss("alrp", ignore_index=-7)(logits, target, iou), kept)
    assert find_alike("ap-loss") == []


# --- in and out


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_slot_is_that_of_the_space() -> None:
    config = load_config(None, {"reinforce.space": "ap", "search": "cma"}, section_of)
    slots = {"reg": REG, "cls": CLS_BINARY}
    assert space_slot(config, slots, ApSpace()) == {"cls": CLS_BINARY}
    with pytest.raises(ConfigError, match=r"ap is a space of sigmoid losses .* detector=one-stage"):
        space_slot(config, {"cls": CLS_MULTICLASS}, ApSpace())


def test_it_is_written_read_and_explained(tmp_path: Path) -> None:
    space = ApSpace(2)
    theta = [0.3, -0.2, 0.1, 0.4, 0.0, 0.5, -0.5, 0.2, -0.1, 0.4]
    loss = ParametricLoss(space, theta, "none")
    again = load_loss(export_loss(loss.text, tmp_path / "loss.json"), reduction="none")
    source = (export_loss(loss.text, tmp_path / "loss.py")).read_text()
    assert "cse_autoloss" not in source.replace("cse-autoloss", "")
    found = _module(tmp_path / "loss.py").SearchedLoss("none")
    logits, target, iou = drawn(8)
    logits.requires_grad_()
    slopes = []
    for one in (loss, again, found):
        values = one(logits, target, iou)
        torch.testing.assert_close(values, loss(logits, target, iou))
        slopes.append(torch.autograd.grad(values.sum(), logits)[0])
    torch.testing.assert_close(slopes[1:], slopes[:1] * 2)
    page, *pictures = explain_loss(loss.text, tmp_path / "page.html")
    assert page.stat().st_size > 0
    assert pictures
    own, other = panels(loss)
    for line, falls in ((own.lines[-1], -1), (other.lines[-1], 1)):
        assert bool((falls * line.slope >= -1e-12).all())
        assert bool(line.slope.any())
    assert "in company of one positive" in own.title
    assert json.loads((tmp_path / "loss.json").read_text())["space"]["name"] == "ap"


@pytest.mark.parametrize("options", [{"pieces": 0}, {"pieces": True}, {"width": 0.0}, {"width": math.inf}])
def test_impossible_settings(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected a"):
        ApSpace(**options)  # type: ignore[arg-type]
