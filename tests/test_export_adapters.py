"""Adapters that are plain torch: MMDetection's and InsightFace's calls."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path

import pytest
import torch
from export_samples import batch, catalogue_graph, imported

from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.export import export_loss, torch_source
from cse_autoloss.export.adapters import mmdet
from cse_autoloss.export.adapters.elements import elements_of
from cse_autoloss.export.adapters.insightface import MarginLogits
from cse_autoloss.export.adapters.mmdet import AutoLossBox, AutoLossClassification
from cse_autoloss.losses import load_loss


def test_mmdet_sigmoid_call() -> None:
    loss = AutoLossClassification("cse-autoloss-b-cls", loss_weight=2.0)
    assert loss.use_sigmoid
    plain = load_loss("cse-autoloss-b-cls", reduction="none")
    logits, target, iou = batch("cls-binary")
    rows = plain(logits, target, iou)
    weight = torch.rand(len(logits), dtype=torch.float64)
    assert torch.allclose(loss(logits, (target, iou)), 2 * rows.mean())
    assert torch.allclose(loss(logits, (target, iou), avg_factor=7.0), 2 * rows.sum() / 7)
    assert torch.allclose(loss(logits, (target, iou), avg_factor=torch.tensor(7.0)), 2 * rows.sum() / 7)
    assert torch.allclose(loss(logits, (target, iou), reduction_override="none"), 2 * rows)
    assert torch.allclose(loss(logits, target, reduction_override="sum"), 2 * plain(logits, target).sum())
    weighted = 2 * (rows * weight.unsqueeze(-1)).sum() / 7
    assert torch.allclose(loss(logits, (target, iou), weight, avg_factor=7.0), weighted)
    spread = weight.unsqueeze(-1).expand_as(logits)
    assert torch.allclose(loss(logits, (target, iou), spread, avg_factor=7.0), weighted)


def test_mmdet_takes_varifocal_targets() -> None:
    logits, target, iou = batch("cls-binary")
    iou = iou.clamp(min=0.1)
    soft = torch.zeros_like(logits)
    positive = (target < logits.shape[-1]).nonzero().squeeze(-1)
    soft[positive, target[positive]] = iou[positive]
    loss = AutoLossClassification("quality-focal")
    assert torch.allclose(loss(logits, soft), loss(logits, (target, iou)))


def test_mmdet_softmax_call() -> None:
    loss = AutoLossClassification("cse-autoloss-a-cls", use_sigmoid=False)
    logits, target, iou = batch("cls-multiclass")
    plain = load_loss("cse-autoloss-a-cls", reduction="none")(logits, target, iou)
    weight = torch.rand(len(logits), dtype=torch.float64)
    assert torch.allclose(loss(logits, (target, iou), weight, avg_factor=3), (plain * weight).sum() / 3)


def test_mmdet_box_call() -> None:
    loss = AutoLossBox("giou", loss_weight=10.0)
    pred, true = batch("reg")
    plain = load_loss("giou", reduction="none")(pred, true)
    weight = torch.rand(len(pred), dtype=torch.float64)
    assert torch.allclose(loss(pred, true), 10 * plain.mean())
    for given in (weight, weight.unsqueeze(-1).expand(-1, 4)):
        assert torch.allclose(loss(pred, true, given, avg_factor=5), 10 * (plain * weight).sum() / 5)
    empty = torch.zeros(0, 4, requires_grad=True)
    loss(empty, torch.zeros(0, 4)).backward()
    assert loss(empty, torch.zeros(0, 4), reduction_override="sum") == 0


def test_mmdet_mistakes_are_told() -> None:
    logits, target, _ = batch("cls-binary")
    loss = AutoLossClassification()
    with pytest.raises(AutoLossError, match="avg_factor divides a mean"):
        loss(logits, target, avg_factor=3, reduction_override="sum")
    with pytest.raises(AutoLossError, match="target must be"):
        loss(logits, torch.zeros(3, 2))
    with pytest.raises(AutoLossError, match="does not fit the loss"):
        loss(logits, target, torch.ones(3))
    with pytest.raises(AutoLossError, match="expected a loss of cls-multiclass, got 'bce'"):
        AutoLossClassification("bce", use_sigmoid=False)
    with pytest.raises(AutoLossError, match="expected a loss of reg"):
        AutoLossBox("focal")
    with pytest.raises(AutoLossError, match="needs the attribute"):
        AutoLossBox(torch.nn.Identity())


def test_mmdet_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with the registry's one method; MMDetection itself is not installed."""
    monkeypatch.setitem(sys.modules, "mmdet", None)
    with pytest.raises(MissingExtraError, match="pip install mmdet"):
        mmdet.register()
    entered = []
    registry = types.ModuleType("mmdet.registry")
    registry.MODELS = types.SimpleNamespace(register_module=lambda module, force: entered.append(module))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmdet", types.ModuleType("mmdet"))
    monkeypatch.setitem(sys.modules, "mmdet.registry", registry)
    mmdet.register()
    assert [module.__name__ for module in entered] == ["AutoLossClassification", "AutoLossBox"]


def test_every_source_of_a_loss_is_taken(tmp_path: Path) -> None:
    pred, true = batch("reg")
    graph = catalogue_graph("giou")
    expected = load_loss("giou", reduction="none")(pred, true)
    module = imported(torch_source(graph), tmp_path).DiscoveredLoss("sum")
    path = export_loss(graph, tmp_path / "loss.json")
    for source in ("giou", graph.formula, path, str(path), graph, load_loss("giou"), module):
        assert torch.allclose(elements_of(source, "reg")(pred, true), expected)
    assert module.reduction == "sum"


def test_insightface_logits_in_logits_out() -> None:
    torch.manual_seed(0)
    cosine = torch.rand(8, 5, dtype=torch.float64) * 1.8 - 0.9
    labels = torch.tensor([0, 1, 2, 3, 4, -1, 2, -1])
    out = MarginLogits("arcface")(cosine.clone(), labels)
    expected = 64 * cosine
    for row, label in enumerate(labels.tolist()):
        if label >= 0:
            expected[row, label] = 64 * math.cos(math.acos(cosine[row, label]) + 0.5)
    assert torch.allclose(out[:5][expected[:5] > -60], expected[:5][expected[:5] > -60])
    assert torch.equal(out[5], 64 * cosine[5])
    assert torch.equal(MarginLogits("arcface")(cosine, labels.view(-1, 1)), out)
    cosface = MarginLogits("cosface")(cosine, labels)
    assert cosface[0, 0] == pytest.approx(64 * (cosine[0, 0].item() - 0.35))
    beyond = torch.full((2, 3), 1.0001, requires_grad=True)
    MarginLogits("arcface")(beyond, torch.tensor([0, -1])).sum().backward()
    assert beyond.grad is not None
    assert beyond.grad.isfinite().all()


def test_insightface_wants_a_margin() -> None:
    with pytest.raises(AutoLossError, match="expected a loss of margin"):
        MarginLogits("bce")
    with pytest.raises(AutoLossError, match="did you mean 'arcface'"):
        MarginLogits("arcfase")
