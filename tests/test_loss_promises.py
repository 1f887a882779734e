"""One promise, one behaviour: half precision, nothing, ignored samples, infinities, second derivatives, names."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cse_autoloss import AutoLossError, export_loss, load_loss
from cse_autoloss.errors import DataError
from cse_autoloss.export.adapters.insightface import MarginLogits
from cse_autoloss.export.adapters.mmdet import AutoLossBox, AutoLossClassification
from cse_autoloss.export.torch_source import torch_source
from cse_autoloss.losses import CATALOGUE, GraphLoss, list_losses
from cse_autoloss.losses.parametric import ParametricLoss, make_space

BOXES = [name for name, entry in CATALOGUE.items() if entry.signature.name == "reg"]
MARGINS = [name for name, entry in CATALOGUE.items() if entry.signature.name == "margin"]
HALF = [torch.float16, torch.bfloat16]
TARGET = torch.tensor([0, 2, 1])


def _parametric(name: str) -> ParametricLoss:
    space = make_space(name)
    return ParametricLoss(space, list(space.start))


def _exported(source: Any, folder: Path, **options: Any) -> nn.Module:
    path = folder / "found.py"
    loss = load_loss(source) if isinstance(source, str) else None
    if isinstance(loss, GraphLoss):
        path.write_text(
            torch_source(loss.graph, alpha=loss.alpha)
        )  # without the proofs, which take their time
    else:
        export_loss(source, path)
    spec = importlib.util.spec_from_file_location("found", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: nn.Module = getattr(module, "SearchedLoss", None) or module.DiscoveredLoss
    return made(**options)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", BOXES)
def test_box_losses_in_half_precision_are_those_of_float32(name: str, dtype: torch.dtype) -> None:
    loss = load_loss(name)
    for side in (16, 200, 320, 800, 2000):
        pred = torch.tensor([[0.0, 0, side, side]]).to(dtype).requires_grad_()
        target = (pred.detach().float() + side / 8).to(dtype)
        right = loss(pred.detach().float(), target.float())
        assert torch.equal(loss(pred, target), right)
        assert loss.elements(pred, target).dtype == torch.float32
        loss(pred, target).backward()
        assert pred.grad is not None
        assert pred.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", MARGINS)
def test_margin_losses_in_half_precision_keep_their_gradient(name: str, dtype: torch.dtype) -> None:
    cosine = torch.cat([torch.linspace(0.9, 0.99, 12)[:, None], torch.full((12, 1), 0.85)], 1).to(dtype)
    target = torch.zeros(12, dtype=torch.int64)
    half, whole = (x.clone().requires_grad_() for x in (cosine, cosine.float()))
    values = [load_loss(name)(x, target) for x in (half, whole)]
    torch.stack(values).sum().backward()
    assert torch.equal(*values)
    assert half.grad is not None
    assert whole.grad is not None
    assert torch.allclose(half.grad.float(), whole.grad, rtol=1e-2, atol=1e-3)
    assert MarginLogits(name)(cosine, target).dtype == torch.float32


@pytest.mark.parametrize("name", ["bce", "cross-entropy", "arcface", "giou", "diou"])
def test_the_mean_of_nothing_is_0_with_a_gradient(name: str) -> None:
    x = torch.zeros(0, 4, requires_grad=True)
    other = torch.zeros(0, 4) if name in BOXES else torch.zeros(0, dtype=torch.int64)
    value = load_loss(name)(x, other)
    value.backward()
    assert value.item() == 0
    assert x.grad is not None


def test_the_mean_of_nothing_in_files_and_adapters(tmp_path: Path) -> None:
    x, target = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    losses = [AutoLossClassification("bce"), _parametric("am-lfs"), _exported("bce", tmp_path)]
    assert [loss(x, target).item() for loss in losses] == [0, 0, 0]
    assert AutoLossBox("giou")(x, x).item() == 0


@pytest.mark.parametrize("name", ["bce", "focal", "cross-entropy", "am-lfs", "search-softmax"])
def test_minus_100_is_ignored_everywhere(name: str, tmp_path: Path) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, -100, 1])
    source = name if name in CATALOGUE else _parametric(name).text
    losses = [load_loss(source), _exported(source, tmp_path)]
    if name == "bce":
        losses.append(AutoLossClassification(name))
    right = load_loss(source)(x[[0, 2]], target[[0, 2]])
    for loss in losses:
        assert torch.allclose(loss(x, target), right)
        assert loss(x, torch.full((3,), -100)).item() == 0
    with pytest.raises(DataError, match="target holds -100"):
        load_loss("bce", ignore_index=None)(x, target)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", ["bce", "cross-entropy", "am-lfs", "search-softmax", *MARGINS])
def test_logits_that_are_no_numbers_give_no_number(name: str, value: float, tmp_path: Path) -> None:
    x = torch.zeros(3, 4)
    x[1, 1] = value
    source = name if name in CATALOGUE else _parametric(name).text
    losses = [load_loss(source)] + ([] if name in MARGINS else [_exported(source, tmp_path)])
    assert not any(loss(x, TARGET).isfinite() for loss in losses)


Args = tuple[torch.Tensor, ...]
PLAIN = [entry.name for entry in list_losses() if entry.formula is not None]


def _inputs(kind: str) -> Args:
    source = torch.Generator().manual_seed(0)
    if kind == "reg":
        low, shift = torch.rand(6, 4, generator=source) * 20, torch.rand(6, 4, generator=source) * 4
        boxes = low + torch.tensor([0.0, 0.0, 25.0, 25.0])
        return boxes, boxes + shift
    logits = torch.randn(6, 4, generator=source)
    if kind == "regression":
        return (logits[:, 0],)
    return torch.tanh(logits) if kind == "margin" else logits, torch.tensor([0, 2, 1, 3, 2, 0])


def _taken(kind: str) -> dict[str, Args]:
    """What a loss takes, beside its plain inputs."""
    args = _inputs(kind)
    found = {
        "half": tuple(x.half() if x.is_floating_point() else x for x in args),
        "nothing": tuple(x[:0] for x in args),
    }
    if kind.startswith("cls"):
        logits, target = (x.clone() for x in args)
        target[1] = target[4] = -100
        logits[1, 2], logits[4, 0] = math.inf, math.nan  # of samples that do not count
        source = torch.Generator().manual_seed(1)
        maps = torch.randn(2, 4, 3, 5, generator=source), torch.randint(0, 4, (2, 3, 5), generator=source)
        large = (args[0].sign() * 200, args[1])
        found |= {"ignored": (logits, target), "all ignored": (logits, target * 0 - 100), "large": large}
        found |= {"maps": maps}
    return found


def _refused(kind: str) -> dict[str, Args]:
    """What it does not take."""
    args = _inputs(kind)
    if kind == "reg":
        others = {
            "one": args[1][:1],
            "whole": args[1].long(),
            "axis": args[1][:, None],
            "five": torch.rand(6, 5),
        }
        return {name: (args[0], other) for name, other in others.items()} | {"flat": (args[0][0], args[1][0])}
    logits, target = args
    others = {
        "column": target[:, None], "mask": torch.zeros(6, 4), "float": target.float(), "one": target[:1],
        "more": torch.zeros(7, dtype=torch.int64), "bool": target > 0, "short": target.int(),
    }  # fmt: skip
    given = {"flat": logits[:, 0], "whole": logits.long()}
    return {k: (logits, other) for k, other in others.items()} | {k: (x, target) for k, x in given.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str, nn.Module]]:
    """Of every loss that has a file: what loads it, its signature and the file's class, made."""
    folder, found = tmp_path_factory.mktemp("files"), {}
    for name in [*PLAIN, *MARGINS, "am-lfs", "search-softmax"]:
        source = name if name in CATALOGUE else _parametric(name).text
        kind = CATALOGUE[name].signature.name if name in CATALOGUE else "parametric"
        found[name] = source, kind, _exported(source, folder)
    return found


def test_files_take_what_load_loss_takes_and_give_the_same(files: dict[str, Any]) -> None:
    for name, (source, kind, file) in files.items():
        loss = load_loss(source)
        for case, args in _taken(kind).items():
            slopes = []
            for one in (loss, file):
                x = args[0].detach().clone().requires_grad_()
                value = one(x, *args[1:])
                value.backward()
                assert value.isfinite(), (name, case)
                assert x.grad is not None, (name, case)
                slopes.append((value.detach(), x.grad))
            for mine, other in zip(*slopes, strict=True):
                assert torch.allclose(mine, other, rtol=1e-4, atol=1e-6), (name, case)
            if "nothing" in case or "all" in case:
                assert slopes[0][0] == 0, (name, case)


def test_files_refuse_what_load_loss_refuses(files: dict[str, Any]) -> None:
    for name, (source, kind, file) in files.items():
        for case, args in ({} if kind == "regression" else _refused(kind)).items():
            with pytest.raises(DataError):
                load_loss(source)(*args)
            with pytest.raises(ValueError, match=r"^[^\n]*must be|^[^\n]*needs its target") as told:
                file(*args)
            assert len(str(told.value)) < 200, (name, case)


def test_a_ranking_is_differentiated_once(tmp_path: Path) -> None:
    x, target = _inputs("cls-binary")
    ap = _parametric("ap")
    losses = [load_loss(name) for name in ("ap-loss", "alrp", "rank-sort")]
    for loss in (*losses, ap, _exported(ap.text, tmp_path)):
        logits = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits, target), logits, create_graph=True)
        with pytest.raises((DataError, ValueError), match="no second derivative"):
            slope.square().sum().backward()


@pytest.mark.parametrize("name", ["ciou", "wiou", "am-lfs", "search-softmax"])
def test_a_second_derivative_that_would_be_wrong_is_refused(name: str) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 9], [3, 4, 20, 18]])
    if name in CATALOGUE:
        loss, x, target = load_loss(name), boxes.clone().requires_grad_(), boxes + 2
    else:
        loss, x, target = _parametric(name), torch.randn(3, 4).requires_grad_(), TARGET
    (slope,) = torch.autograd.grad(loss(x, target), x, create_graph=True)
    assert slope.isfinite().all()
    with pytest.raises(DataError, match="no second derivative"):
        slope.square().sum().backward()


@pytest.mark.parametrize(
    "name", ["a\0b.json", "a\ud800b.json", "Neg(X\0)", "9" * 5000, "Mul(X," + "9" * 5000 + ")"]
)
def test_names_that_no_file_can_have_are_one_line(name: str, tmp_path: Path) -> None:
    for call in (
        lambda: load_loss(name, "cls-binary"),
        lambda: load_loss(Path(name)),
        lambda: export_loss(name, tmp_path / "x.py", "cls-binary"),
        lambda: export_loss("bce", f"{tmp_path}/{name[:200]}\0.py"),
    ):
        with pytest.raises(AutoLossError) as told:
            call()
        assert len(str(told.value).splitlines()) == 1
        assert len(str(told.value)) < 1000


@pytest.mark.parametrize("theta", ["9" * 400, "9" * 5000, "1e999", "{}"])
def test_numbers_of_a_json_that_are_none(theta: str) -> None:
    with pytest.raises(AutoLossError):
        load_loss(f'{{"space": {{"name": "am-lfs"}}, "theta": [{theta}]}}')
