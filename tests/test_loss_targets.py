"""What classification losses take beside class indices: maps, masks, soft targets, ignored samples, weights."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cse_autoloss.errors import ConfigError, DataError, UnknownNameError
from cse_autoloss.losses import load_loss

torch.manual_seed(0)
MAPS = torch.randn(2, 5, 4, 3, dtype=torch.float64) * 3
INDEX = torch.randint(0, 5, (2, 4, 3))
MASK = torch.randint(0, 2, MAPS.shape)
SOFT = torch.rand_like(MAPS)
IOU = torch.rand(INDEX.shape, dtype=torch.float64)
WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.0, 0.1], dtype=torch.float64)
REDUCTIONS = ("none", "mean", "sum")


def rows(maps: Tensor) -> Tensor:
    """Samples first, classes last."""
    return maps.movedim(1, -1).flatten(0, -2) if maps.dim() == 4 else maps.flatten()


def with_gradient(loss: Any, logits: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    first = logits.clone().requires_grad_()
    value = loss(first, *others)
    (gradient,) = torch.autograd.grad(value.sum(), first)
    return value.detach(), gradient


# --- maps


@pytest.mark.parametrize(
    "name", ["focal", "varifocal", "cross-entropy", "cse-autoloss-a-cls", "label-smoothing"]
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_maps_mean_what_their_places_mean_as_rows(name: str, reduction: str) -> None:
    loss = load_loss(name, reduction=reduction)
    value, gradient = with_gradient(loss, MAPS, INDEX, IOU)
    expected, slope = with_gradient(loss, rows(MAPS), rows(INDEX), rows(IOU))
    assert torch.equal(rows(gradient), slope)
    assert torch.equal(rows(value) if reduction == "none" else value, expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "taking", [{}, {"ignore_index": 1}, {"weight": WEIGHT}, {"ignore_index": 1, "weight": WEIGHT}]
)
def test_cross_entropy_is_torchs(reduction: str, taking: dict[str, Any]) -> None:
    def ours(logits: Tensor, target: Tensor) -> Tensor:
        return load_loss("cross-entropy", reduction=reduction, **taking)(logits, target)

    def torchs(logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, reduction=reduction, **taking)

    torch.testing.assert_close(with_gradient(ours, MAPS, INDEX), with_gradient(torchs, MAPS, INDEX))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("targets", "target"), [("mask", MASK), ("mask", MASK.bool()), ("soft", SOFT)])
def test_bce_is_torchs(reduction: str, weighted: bool, targets: Any, target: Tensor) -> None:
    weight = WEIGHT if weighted else None
    loss = load_loss("bce", reduction=reduction, targets=targets, weight=weight)

    def torchs(logits: Tensor, target: Tensor) -> Tensor:
        factor = None if weight is None else weight.reshape(5, 1, 1)
        return binary_cross_entropy_with_logits(logits, target.double(), factor, reduction=reduction)

    torch.testing.assert_close(with_gradient(loss, MAPS, target), with_gradient(torchs, MAPS, target))


def test_soft_cross_entropy_is_torchs() -> None:
    target = SOFT.softmax(1)
    for reduction in REDUCTIONS:
        loss = load_loss("cross-entropy", reduction=reduction, targets="soft")
        torch.testing.assert_close(loss(MAPS, target), cross_entropy(MAPS, target, reduction=reduction))


# --- masks and soft targets


@pytest.mark.parametrize("name", ["focal", "cse-autoloss-b-cls", "quality-focal"])
@pytest.mark.parametrize("targets", ["mask", "soft"])
def test_a_one_hot_mask_is_the_index(name: str, targets: Any) -> None:
    mask = torch.nn.functional.one_hot(INDEX, 5).movedim(-1, 1).double()
    quality = IOU.unsqueeze(1).expand_as(mask)
    loss, masked = load_loss(name), load_loss(name, targets=targets)
    torch.testing.assert_close(
        with_gradient(masked, MAPS, mask, quality), with_gradient(loss, MAPS, INDEX, IOU)
    )


def test_a_mask_of_one_class_is_not_read_inverted() -> None:
    logits, mask = torch.tensor([[4.0], [-4.0]]), torch.tensor([[1], [0]])
    expected = binary_cross_entropy_with_logits(logits, mask.float())
    torch.testing.assert_close(load_loss("bce", targets="mask")(logits, mask), expected)


# --- ignored


@pytest.mark.parametrize("name", ["focal", "cse-autoloss-b-cls", "cross-entropy", "cse-autoloss-a-cls"])
def test_ignored_samples_count_nothing(name: str) -> None:
    target = INDEX.clone()
    target[:, ::2] = 255
    kept = rows(target) != 255
    logits, iou = MAPS.clone(), IOU.clone()
    iou[target == 255] = torch.nan
    logits[:, :, 0] = torch.inf  # what padding may leave
    for reduction in ("mean", "sum"):
        loss = load_loss(name, reduction=reduction, ignore_index=255)
        value, gradient = with_gradient(loss, logits, target, iou)
        expected, slope = with_gradient(
            load_loss(name, reduction=reduction), rows(MAPS)[kept], rows(INDEX)[kept], rows(IOU)[kept]
        )
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(rows(gradient)[kept], slope)
        assert (rows(gradient)[~kept] == 0).all()
    loss = load_loss(name, reduction="none", ignore_index=255)
    each = loss(logits, target, iou)
    assert (rows(each)[~kept] == 0).all()
    torch.testing.assert_close(loss.elements(logits, target, iou), each)


def test_ignored_places_of_a_mask_count_nothing() -> None:
    mask = MASK.clone()
    mask[:, 1:3, 0] = 255
    kept = mask != 255
    value, gradient = with_gradient(load_loss("bce", targets="mask", ignore_index=255), MAPS, mask)
    torch.testing.assert_close(value, binary_cross_entropy_with_logits(MAPS[kept], mask[kept].double()))
    assert (gradient[~kept] == 0).all()


@pytest.mark.parametrize("name", ["focal", "cross-entropy"])
@pytest.mark.parametrize("taking", [{"ignore_index": -1}, {"ignore_index": -1, "weight": WEIGHT}])
def test_the_mean_of_what_is_all_ignored_is_zero_without_a_gradient(
    name: str, taking: dict[str, Any]
) -> None:
    value, gradient = with_gradient(load_loss(name, **taking), MAPS, torch.full_like(INDEX, -1))
    assert value == 0
    assert (gradient == 0).all()


# --- what is refused


@pytest.mark.parametrize(
    ("name", "taking", "target", "message"),
    [
        ("bce", {}, MASK, r'target must be \(2, 4, 3\), .*; is it targets="mask" or "soft"\?'),
        ("bce", {}, INDEX.unsqueeze(1), r"target must be \(2, 4, 3\), one class index a row of logits"),
        ("bce", {}, INDEX.double(), r"target must be int64"),
        ("bce", {"ignore_index": 9}, INDEX + 3, r"target holds 7; class indices run from 0 to 5"),
        (
            "bce",
            {"targets": "mask"},
            INDEX,
            r"target must be \(2, 5, 4, 3\), 0 or 1 for each logit, got \(2, 4, 3\)",
        ),
        ("bce", {"targets": "mask"}, MASK * 2, r"target must hold 0 or 1 for each logit, got 2"),
        (
            "bce",
            {"targets": "soft"},
            SOFT * 2,
            r"target must hold a number in \[0, 1\] for each logit, got 1",
        ),
        ("bce", {"targets": "soft"}, MASK, r"target must be floating point"),
        ("cross-entropy", {"targets": "soft"}, SOFT, r"target must sum to 1 over the classes"),
        ("bce", {"weight": WEIGHT[:3]}, INDEX, r"weight has 3 numbers, and logits have 5 columns"),
    ],
)
def test_targets_that_do_not_fit(name: str, taking: dict[str, Any], target: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_loss(name, **taking)(MAPS, target)


def test_soft_targets_of_softmax_heads_take_no_iou() -> None:
    target = SOFT.softmax(1)
    with pytest.raises(DataError, match="soft targets of softmax heads take none"):
        load_loss("cross-entropy", targets="soft")(MAPS, target, target)


@pytest.mark.parametrize(
    ("name", "taking", "message"),
    [
        ("giou", {"ignore_index": 255}, "a reg loss takes none"),
        ("l1", {"targets": "soft"}, "a reg loss takes none"),
        ("cosface", {"weight": WEIGHT}, "a margin loss takes none"),
        ("cross-entropy", {"targets": "mask"}, "is of cls-binary losses"),
        ("bce", {"targets": "soft", "ignore_index": 1}, "soft targets have none"),
        ("bce", {"ignore_index": 1.5}, "ignore_index must be a whole number"),
        ("cross-entropy", {"targets": "soft", "weight": WEIGHT}, "soft targets of softmax heads take none"),
        ("bce", {"weight": [[1.0]]}, r"weight must be \(C,\)"),
        ("bce", {"weight": [-1.0]}, r"weight must be \(C,\)"),
        ("bce", {"weight": "heavy"}, r"weight must be \(C,\)"),
    ],
)
def test_settings_that_do_not_fit(name: str, taking: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_loss(name, **taking)


@pytest.mark.parametrize("name", ["bce", "cross-entropy", "ap-loss", "cosface", "giou", "smooth-l1"])
def test_what_is_no_tensor(name: str) -> None:
    rows = torch.zeros(2, 4)
    for given in ((rows.numpy(), rows), (rows, [0, 1])):
        with pytest.raises(DataError, match="must be a tensor, got"):
            load_loss(name)(*given)


def test_names_of_the_same_signature_are_offered() -> None:
    with pytest.raises(UnknownNameError, match="expected one of: cross-entropy"):
        load_loss("ce", "cls-multiclass")


def test_the_nearest_kind_of_target_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mask'"):
        load_loss("bce", targets="masks")  # type: ignore[arg-type]


# --- compiled and kept


@pytest.mark.parametrize(
    ("name", "taking", "target"),
    [
        ("focal", {"targets": "mask", "ignore_index": 255}, MASK),
        ("cross-entropy", {"ignore_index": 1, "weight": WEIGHT}, INDEX),
        ("focal", {}, INDEX),
    ],
)
def test_compiled_exported_copied_and_pickled(name: str, taking: dict[str, Any], target: Tensor) -> None:
    loss = load_loss(name, **taking)
    expected = loss(MAPS, target)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(MAPS, target), expected)
    program = torch.export.export(loss, (MAPS, target))
    torch.testing.assert_close(program.module()(MAPS, target), expected)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(MAPS, target), expected)
        assert str(twin) == str(loss)
