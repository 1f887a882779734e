"""Transformers' DETR with our losses: the library's own numbers where the losses are the same."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export.adapters.elements import elements_of, paired_iou
from cse_autoloss.export.adapters.transformers import _Losses, _Matcher, with_losses
from cse_autoloss.losses import load_loss

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
CLASSES = 3


def model_of(kind: str) -> Any:
    import transformers as hf

    torch.manual_seed(0)
    backbone = hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic",
        out_features=["stage3"] if kind == "detr" else ["stage1", "stage2", "stage3"],
    )  # fmt: skip
    size: dict[str, Any] = {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 6, "num_labels": CLASSES,
        "auxiliary_loss": True, "backbone_config": backbone, "dropout": 0.0,
    }  # fmt: skip
    if kind == "detr":
        return hf.DetrForObjectDetection(hf.DetrConfig(**size))
    if kind == "deformable":
        return hf.DeformableDetrForObjectDetection(hf.DeformableDetrConfig(**size, num_feature_levels=3))
    resnet = hf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    size |= {
        "backbone_config": resnet, "encoder_in_channels": [16, 16, 16], "decoder_in_channels": [16, 16, 16],
        "encoder_hidden_dim": 16, "num_denoising": 4, "feat_strides": [8, 16, 32],
    }  # fmt: skip
    return hf.RTDetrForObjectDetection(hf.RTDetrConfig(**size))


def losses_of(model: Any) -> dict[str, Tensor]:
    torch.manual_seed(1)  # RT-DETR draws its denoising queries
    pictures = torch.rand(2, 3, 64, 64)
    labels = [
        {"class_labels": torch.tensor([0, 2]), "boxes": torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.7, 0.6, 0.3, 0.5]])},
        {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.6]])},
    ]  # fmt: skip
    model.train()
    result = model(pictures, labels=labels)
    return {**result.loss_dict, "loss": result.loss}


CASES = [
    ("detr", "cross-entropy"),
    ("deformable", load_loss("focal", alpha=0.25)),
    ("rt-detr", None),
]


@needs_library
@pytest.mark.filterwarnings("ignore")  # of the library itself
@pytest.mark.parametrize(("kind", "cls_loss"), CASES)
def test_the_same_losses_give_the_same_numbers(kind: str, cls_loss: Any) -> None:
    model = model_of(kind)
    expected, names = losses_of(model), list(model.state_dict())
    found = losses_of(with_losses(model, cls_loss, "giou"))
    assert list(model.state_dict()) == names
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    heavier = losses_of(with_losses(model, cls_loss, "giou", box_weight=3.0))
    torch.testing.assert_close(heavier["loss_giou"], 3 * found["loss_giou"])


@needs_library
@pytest.mark.filterwarnings("ignore")  # of the library itself
@pytest.mark.parametrize("kind", ["detr", "deformable", "rt-detr"])
def test_ten_steps_with_our_losses_and_their_costs(kind: str) -> None:
    cls_loss = "cse-autoloss-a-cls" if kind == "detr" else "cse-autoloss-b-cls"
    model = with_losses(model_of(kind), cls_loss, "cse-autoloss-b-reg", match=True)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    history = []
    for _ in range(10):
        loss = losses_of(model)["loss"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        history.append(float(loss.detach()))
    assert min(history[-3:]) < history[0]


@needs_library
def test_the_example_runs() -> None:
    script = Path(__file__).parents[1] / "examples" / "libraries" / "detr.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    totals = [float(line.split("loss ")[1].split()[0]) for line in done.stdout.splitlines()]
    assert len(totals) == 10
    assert totals[-1] < totals[0]


@needs_library
@pytest.mark.filterwarnings("ignore")  # of the library itself
def test_a_loss_of_another_branch_is_told() -> None:
    model = model_of("detr")
    with pytest.raises(AutoLossError, match="expected a loss of cls-multiclass"):
        with_losses(model, "focal")
    with pytest.raises(AutoLossError, match="give cls_loss and box_loss"):
        with_losses(model, "cross-entropy", match=True)


def test_other_models_are_told() -> None:
    with pytest.raises(AutoLossError, match="got a Linear"):
        with_losses(nn.Linear(2, 2), "focal")


@pytest.mark.parametrize("branch", ["cls-multiclass", "cls-binary"])
def test_the_matcher_finds_what_loses_least(branch: str) -> None:
    softmax = branch == "cls-multiclass"
    cls = elements_of("cross-entropy" if softmax else "quality-focal", branch)
    losses = _Losses(cls, elements_of("giou", "reg"), 1.0, 1.0, 64.0)
    factors = SimpleNamespace(class_cost=1.0, bbox_cost=0.0, giou_cost=2.0)
    matcher = _Matcher(factors, losses, CLASSES, 0.1)
    torch.manual_seed(0)
    logits, boxes = torch.randn(1, 5, CLASSES + softmax), torch.rand(1, 5, 4) * 0.5 + 0.2
    target = {"class_labels": torch.tensor([2, 0]), "boxes": torch.rand(2, 4) * 0.5 + 0.2}

    def lost(queries: tuple[int, ...]) -> float:
        chosen = list(queries)
        pairs = losses.corners(boxes[0, chosen]), losses.corners(target["boxes"])
        labels, iou = torch.full((5,), CLASSES), torch.full((5,), float(softmax))
        labels[chosen] = target["class_labels"]
        iou[chosen] = paired_iou(*pairs)
        weight = torch.where(labels == CLASSES, 0.1 if softmax else 1.0, 1.0)
        rows = losses.cls(logits[0], labels, iou)  # type: ignore[misc]
        return float((rows.view(5, -1).sum(-1) * weight).sum() + 2 * losses.box(*pairs).sum())  # type: ignore[misc]

    ((queries, objects),) = matcher({"logits": logits, "pred_boxes": boxes}, [target])
    assert len(queries) == 2
    found = tuple(queries[objects.argsort()].tolist())
    assert lost(found) == pytest.approx(min(map(lost, itertools.permutations(range(5), 2))), abs=1e-5)
    empty = {"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}
    ((none, _),) = matcher({"logits": logits, "pred_boxes": boxes}, [empty])
    assert len(none) == 0
