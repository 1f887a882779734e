"""Loss modules: how they are called, what they refuse, and how they are loaded, copied and kept."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch

from cse_autoloss.errors import AutoLossError, ConfigError, DataError, FormulaError, UnknownNameError
from cse_autoloss.losses import CATALOGUE, GraphLoss, load_loss, parse_loss_json, read_loss_file
from cse_autoloss.spaces import parse

LOGITS = torch.tensor([[0.5, -1.0], [2.0, 0.1], [-0.3, 0.7]])
TARGET = torch.tensor([0, 2, 1])
BOXES = torch.tensor([[0.0, 0.0, 10.0, 8.0], [1.0, 1.0, 4.0, 5.0]])


def call(name: str, reduction: str = "none") -> torch.Tensor:
    loss = load_loss(name, reduction=reduction)
    return loss(BOXES, BOXES + 1) if loss.signature.name == "reg" else loss(LOGITS, TARGET.clamp(max=1))


# --- shapes


@pytest.mark.parametrize(("name", "shape"), [("bce", (3, 2)), ("cross-entropy", (3,)), ("giou", (2,))])
def test_shape_before_the_reduction(name: str, shape: tuple[int, ...]) -> None:
    assert call(name).shape == shape
    assert call(name, "sum").shape == ()


@pytest.mark.parametrize(
    ("formula", "branch", "shape"),
    [
        ("Add(1,2)", "cls-binary", (3, 2)),
        ("3", "cls-multiclass", (3,)),
        ("Z", "cls-multiclass", (3,)),
        ("2", "reg", (2,)),
    ],
)
def test_a_constant_is_broadcast(formula: str, branch: str, shape: tuple[int, ...]) -> None:
    loss = load_loss(formula, branch, reduction="none")
    assert (loss(BOXES, BOXES) if branch == "reg" else loss(LOGITS, TARGET.clamp(max=1))).shape == shape


@pytest.mark.parametrize("name", ["bce", "cross-entropy", "giou", "l1", "cosface", "cse-autoloss-b-cls"])
def test_no_samples_sum_to_zero_with_a_gradient(name: str) -> None:
    loss = load_loss(name, reduction="sum")
    prediction = torch.zeros(0, 4, requires_grad=True)
    target = torch.zeros(0, 4) if loss.signature.name == "reg" else torch.zeros(0, dtype=torch.int64)
    total = loss(prediction, target)
    total.backward()
    assert total.item() == 0
    assert prediction.grad is not None
    assert prediction.grad.shape == (0, 4)


def test_the_mean_of_nothing_is_0_as_in_exported_files() -> None:
    assert load_loss("bce")(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).item() == 0


def test_iou_beside_background_is_not_read() -> None:
    loss = load_loss("varifocal")
    clean = loss(LOGITS, TARGET, torch.tensor([0.5, 0.0, 0.9]))
    assert torch.equal(loss(LOGITS, TARGET, torch.tensor([0.5, float("nan"), 0.9])), clean)


def test_no_gradient_flows_through_iou() -> None:
    iou = torch.tensor([0.5, 0.2, 0.9], requires_grad=True)
    logits = LOGITS.clone().requires_grad_()
    load_loss("cse-autoloss-b-cls")(logits, TARGET, iou).backward()
    assert iou.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (LOGITS * 20).to(dtype).requires_grad_()
    loss = load_loss("cse-autoloss-b-cls")
    value = loss(logits, TARGET)
    value.backward()
    assert value.dtype is torch.float32
    assert logits.grad is not None
    assert logits.grad.dtype is dtype
    torch.testing.assert_close(value, loss(logits.float(), TARGET))


# --- what is refused


@pytest.mark.parametrize(
    ("logits", "target", "iou", "message"),
    [
        (
            torch.zeros(3),
            TARGET,
            None,
            r"logits must be \(N, C\) or \(N, C, d1, …\) floating point with C ≥ 1, got \(3,\) float32",
        ),
        (LOGITS.long(), TARGET, None, "got .* int64"),
        (LOGITS, TARGET[:2], None, r"target must be \(3,\)"),
        (LOGITS, LOGITS, None, r"target must be \(3,\)"),
        (LOGITS, TARGET.int(), None, "target.long()"),
        (
            LOGITS,
            torch.tensor([0, 3, 1]),
            None,
            r"target holds 3; class indices run from 0 to 2 \(2 is background\)",
        ),
        (LOGITS, torch.tensor([0, -1, 1]), None, "target holds -1"),
        (LOGITS, TARGET, torch.zeros(2), r"iou must be \(3,\) floating point"),
        (LOGITS, TARGET, torch.tensor([0.5, 0.5, 1.5]), r"iou of positives must lie in \[0, 1\], got 1.5"),
        (LOGITS, TARGET, torch.tensor([float("nan"), 0.5, 0.5]), "got nan"),
    ],
)
def test_bad_classification_input(
    logits: torch.Tensor, target: torch.Tensor, iou: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_loss("bce")(logits, target, iou)


def test_background_is_the_last_column_of_softmax_heads() -> None:
    with pytest.raises(DataError, match="target holds 2; class indices run from 0 to 1"):
        load_loss("cross-entropy")(LOGITS, TARGET)


@pytest.mark.parametrize("name", ["giou", "l1"])
def test_bad_boxes(name: str) -> None:
    loss = load_loss(name)
    with pytest.raises(DataError, match=r"pred_boxes must be \(P, 4\)"):
        loss(BOXES[0], BOXES[0])
    with pytest.raises(DataError, match=r"target_boxes must be .* int64"):
        loss(BOXES, BOXES.long())
    with pytest.raises(DataError, match="each predicted box needs its target"):
        loss(BOXES, BOXES[:1])


def test_bad_settings() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        load_loss("bce", reduction="meen")
    with pytest.raises(ConfigError, match="a cls-multiclass loss has none"):
        GraphLoss(parse("Z", "cls-multiclass"), alpha=0.25)


# --- copies


@pytest.mark.parametrize(
    "name", [name for name, entry in CATALOGUE.items() if entry.signature.name != "regression"]
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_copies_compute_the_same(name: str, duplicate: object) -> None:
    assert callable(duplicate)
    loss = load_loss(name, reduction="none")
    twin = duplicate(loss)
    inputs = (BOXES, BOXES + 1) if loss.signature.name == "reg" else (LOGITS / 4, TARGET.clamp(max=1))
    assert torch.equal(loss(*inputs), twin(*inputs))
    assert str(twin) == str(loss)


def test_repr_says_what_it_is() -> None:
    assert repr(load_loss("Sub(1,Div(I,U))", reduction="sum")) == (
        "GraphLoss('Sub(1,Div(I,U))', signature='reg', reduction='sum')"
    )
    assert "alpha=0.25" in repr(load_loss("cse-autoloss-b-cls"))


# --- load_loss


@pytest.mark.parametrize(
    ("formula", "branch"),
    [
        ("Sub(U,I)", "reg"),
        ("Neg(Dot(X,X))", "cls-multiclass"),
        ("Mul(Z,Dot(X,Y))", "cls-multiclass"),
        ("Mul(PY,X)", "cls-binary"),
    ],
)
def test_variables_tell_the_branch(formula: str, branch: str) -> None:
    assert load_loss(formula).signature.name == branch


@pytest.mark.parametrize(
    ("formula", "word"), [("Sig(X)", "no signature"), ("Add(Q,I)", "several signatures"), ("X", "no")]
)
def test_an_untold_branch_is_asked_for(formula: str, word: str) -> None:
    with pytest.raises(FormulaError, match=f"{word}.*give signature= one of cls-binary, cls-multiclass, reg"):
        load_loss(formula)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'focall'; did you mean 'focal'"):
        load_loss("focall")
    for odd in ("xyz", "no/focal", r"C:\focal", "n" * 300 + "/x", "a\0b"):
        with pytest.raises(UnknownNameError, match=r"^no such run, file or loss: .{4,80}$"):
            load_loss(odd)
    (tmp_path / "run-1").mkdir()
    with pytest.raises(UnknownNameError, match=r"no such run, file or loss: .*; did you mean '.*run-1'"):
        load_loss(f"{tmp_path}/run-2")
    with pytest.raises(UnknownNameError, match="run-1: a folder that holds no run"):
        load_loss(f"{tmp_path}/run-1")
    with pytest.raises(UnknownNameError, match="unknown signature 'regg'"):
        load_loss("focal", signature="regg")
    with pytest.raises(UnknownNameError, match="'focal' is a cls-binary loss, not reg"):
        load_loss("focal", signature="reg")


def write(path: Path, **changes: object) -> Path:
    content = {
        "format": 1,
        "signature": "reg",
        "formula": "Sub(1,Div(I,U))",
        "provenance": {"seed": 3},
    } | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value != "absent"}))
    return path


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "loss.json")
    assert torch.equal(load_loss(path)(BOXES, BOXES + 1), load_loss("iou")(BOXES, BOXES + 1))
    assert torch.equal(load_loss(str(path))(BOXES, BOXES + 1), load_loss("iou")(BOXES, BOXES + 1))
    assert read_loss_file(path).provenance == {"seed": 3}
    binary = write(tmp_path / "b.json", signature="cls-binary", formula="Mul(PY,X)", alpha=0.25)
    assert "alpha=0.25" in repr(load_loss(binary))
    assert "alpha" not in repr(load_loss(binary, alpha=None))


def test_a_file_that_says_branch_for_signature_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "loss.json", signature="absent", branch="reg")
    assert load_loss(path).signature.name == "reg"


def test_a_file_of_two_losses_is_asked_for_one(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    pair = {
        "cls": {"signature": "cls-binary", "formula": "Mul(PY,X)"},
        "reg": {"signature": "reg", "formula": "Sub(U,I)"},
    }
    path.write_text(json.dumps({"format": 1, **pair}))
    assert load_loss(path, signature="reg").signature.name == "reg"
    assert load_loss(path, signature="cls-binary").signature.name == "cls-binary"
    with pytest.raises(DataError, match="holds the losses of cls and reg; give signature="):
        load_loss(path)
    with pytest.raises(DataError, match="none of them is a cls-multiclass loss"):
        load_loss(path, signature="cls-multiclass")
    path.write_text(json.dumps({"format": 1, "cls": pair["cls"]}))
    with pytest.raises(DataError, match="holds the losses of cls; none of them is a reg loss"):
        load_loss(path, signature="reg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format: expected 1, got 2"),
        ({"format": True}, "format: wrong type"),
        ({"formula": "absent"}, "the key 'formula' is missing"),
        ({"formula": 3}, "formula: wrong type, got 3"),
        ({"formula": "__import__('os')"}, "loss.json: formula"),
        ({"formula": "Sub(1,Div(I,V))"}, "unknown name 'V'"),
        ({"signature": "rag"}, "did you mean 'reg'"),
        ({"alpha": 0.25}, "a reg loss has none"),
        ({"signature": "cls-binary", "formula": "X", "alpha": float("nan")}, "alpha must be a number"),
        ({"formulas": "X"}, "unknown key 'formulas'; did you mean 'formula'"),
        ({"provenance": []}, "provenance: wrong type"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(AutoLossError, match=message) as caught:
        load_loss(write(tmp_path / "loss.json", **changes))
    assert "loss.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x95", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"format": 1' + b" " * 1_000_000, "larger than"),
        (b"", "not JSON"),
    ],
)
def test_hostile_content_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_loss_json(content)


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_loss(tmp_path / "absent.json")
    with pytest.raises(DataError, match="Is a directory"):
        load_loss(tmp_path)
    large = tmp_path / "large.json"
    large.write_bytes(b" " * 1_000_001)
    with pytest.raises(DataError, match="larger than"):
        load_loss(large)


@pytest.mark.parametrize("name", ["giou", "l1", "ciou", "Sub(1,Div(I,U))"])
def test_boxes_with_width_and_height_are_refused(name: str) -> None:
    loss = load_loss(name, signature="reg")
    corners = torch.tensor([[20.0, 30.0, 45.0, 50.0], [60.0, 5.0, 90.0, 10.0], [0.0, 0.0, 9.0, 9.0]])
    sides = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], -1)
    assert loss(sides, corners).isfinite()  # what a model predicts may be anything
    with pytest.raises(DataError, match="must be corners x1, y1, x2, y2; 2 of 3 have x2 < x1 or y2 < y1"):
        loss(corners, sides)
    assert torch.func.vmap(loss)(corners[None], sides[None]).shape == (1,)
