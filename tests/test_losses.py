"""Every loss of the catalogue against its declared truth, an independent reference and torch's own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
import reference_losses
import torch
from points_along import along
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.graph import compile_graph
from cse_autoloss.losses import (
    CATALOGUE,
    Entry,
    GraphLoss,
    list_losses,
    load_loss,
)
from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs, parse
from cse_autoloss.verification import verify

# Losses of regression, and of whole batches, have tests of their own: test_residual_losses.py, test_ranking.py.
ALL = [entry for entry in list_losses() if entry.signature.name != "regression" and not entry.whole]
NAMES = [entry.name for entry in ALL if entry.name in CATALOGUE.families]
POINTS = [CATALOGUE[text] for name in NAMES for points in along(name) for text in points]
"""The ends and the middle of what the tuning of inner parameters tries."""
FIRST = [CATALOGUE[points[1]] for name in NAMES for points in along(name)]
"""One point off the default along each inner parameter."""
EXPRESSIONS = [entry for entry in ALL if entry.formula is not None]
CLASSIFICATION = [entry for entry in ALL if entry.signature.name.startswith("cls")]
BOXES = [entry for entry in ALL if entry.signature.name == "reg"]
BINARY = [entry for entry in ALL if entry.signature.name == "cls-binary"]

Sample = tuple[list[float], "int | list[float]", "float | None"]


def named(*chosen: Entry) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in chosen])


def elements(entry: Entry, prediction: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
    """Values before the reduction, α weighting left out; iou only where the branch takes one."""
    loss = entry.make("none", alpha=None) if entry.signature.name == "cls-binary" else entry.make("none")
    return (
        loss(prediction, target)
        if entry.signature.name in ("reg", "margin")
        else loss(prediction, target, iou)
    )


def run(entry: Entry, sample: Sample, dtype: torch.dtype = torch.float64) -> tuple[list[float], list[float]]:
    """Values and gradient of one sample."""
    prediction, target, w = sample
    tensor = torch.tensor([prediction], dtype=dtype, requires_grad=True)
    kind = torch.int64 if isinstance(target, int) else dtype
    iou = None if w is None else torch.tensor([w], dtype=dtype)
    values = elements(entry, tensor, torch.tensor([target], dtype=kind), iou)
    values.sum().backward()
    assert tensor.grad is not None
    return values.flatten().tolist(), tensor.grad.flatten().tolist()


def close(got: list[float], wanted: list[float], tolerance: float) -> bool:
    """Whether all differ by at most `tolerance`, relative where the wanted number is above 1."""
    pairs = zip(got, wanted, strict=True)
    return all(abs(g - w) <= tolerance * max(1.0, abs(w)) for g, w in pairs)


def boxes(count: int, generator: torch.Generator) -> Tensor:
    """Boxes of 4 to 24 pixels a side, in a frame of 40."""
    low = torch.rand(count, 2, dtype=torch.float64, generator=generator) * 16
    size = 4 + torch.rand(count, 2, dtype=torch.float64, generator=generator) * 20
    return torch.cat([low, low + size], -1)


def samples(entry: Entry, count: int = 8) -> Iterator[Sample]:
    generator = torch.Generator().manual_seed(7)
    if entry.signature.name == "reg":
        for pred, target in zip(boxes(count, generator), boxes(count, generator), strict=True):
            yield pred.tolist(), target.tolist(), None
        return
    scale = 0.95 if entry.signature.name == "margin" else 6.0
    classes = 4 if entry.signature.name == "cls-multiclass" else 3
    background = entry.signature.name == "cls-binary"
    for index in range(count):
        draw = torch.rand(classes + 1, dtype=torch.float64, generator=generator)
        logits = (scale * (2 * draw[:classes] - 1)).tolist()
        iou = None if entry.signature.name == "margin" else draw[-1].item()
        yield logits, index % (classes + background), iou


def batch(
    entry: Entry, count: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor | None]:
    drawn = list(samples(entry, count))
    target = torch.tensor([sample[1] for sample in drawn])
    prediction = torch.tensor([sample[0] for sample in drawn], dtype=dtype)
    iou = None if drawn[0][2] is None else torch.tensor([sample[2] for sample in drawn], dtype=dtype)
    return prediction, target if target.dim() == 1 else target.to(dtype), iou


def inputs(entry: Entry, prediction: Tensor, target: Tensor, iou: Tensor | None) -> dict[str, Tensor]:
    if entry.signature.name == "reg":
        return box_inputs(prediction, target)
    make = binary_inputs if entry.signature.name == "cls-binary" else multiclass_inputs
    return make(prediction, target, iou)


# --- the catalogue itself


def test_names_are_kebab_case_and_sources_are_given() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name) for entry in ALL)
    assert all(entry.source and entry.title and entry.points for entry in ALL)
    assert {entry.name for entry in ALL} >= {
        "bce", "focal", "cross-entropy", "iou", "giou",
        "cse-autoloss-a-cls", "cse-autoloss-a-reg", "cse-autoloss-b-cls", "cse-autoloss-b-reg",
    }  # fmt: skip


def test_every_loss_has_a_reference() -> None:
    known = {**reference_losses.BINARY, **reference_losses.MULTICLASS, **reference_losses.BOXES}
    assert {entry.name for entry in ALL} == {*known, *reference_losses.MARGIN}


def test_entries_of_a_branch() -> None:
    assert {entry.signature.name for entry in list_losses("reg")} == {"reg"}
    with pytest.raises(UnknownNameError, match="did you mean 'reg'"):
        list_losses("regg")


def test_published_formulas_are_the_published_strings() -> None:
    a_cls = load_loss("cse-autoloss-a-cls")
    assert isinstance(a_cls, GraphLoss)
    assert a_cls.formula == "Neg(Dot(Mul(Y,Add(1,Sin(Z))),Log(Softmax(X))))"
    a_reg = load_loss("cse-autoloss-a-reg")
    assert isinstance(a_reg, GraphLoss)
    assert a_reg.formula == "Add(1,Neg(Add(Div(I,U),Neg(Div(Add(E,Neg(Add(I,2))),E)))))"


# --- families


def test_what_came_later_starts_no_search() -> None:
    seeds = {entry.name for entry in ALL if entry.seed}
    assert {"focal", "focal-1", "softmax-poly-1", "square-iou"} <= seeds
    assert not seeds & {"hill", "generalised-ce", "alpha-iou"}
    assert not any(entry.seed for entry in POINTS)


def test_label_smoothing_is_torchs() -> None:
    logits, target = torch.randn(64, 6) * 5, torch.randint(0, 6, (64,))
    wanted = functional.cross_entropy(logits, target, label_smoothing=0.2)
    torch.testing.assert_close(load_loss("label-smoothing(epsilon=0.2)")(logits, target), wanted)


@named(*(entry for entry in ALL if entry.name in CATALOGUE.families))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(entry: Entry, dtype: torch.dtype) -> None:
    prediction, target, iou = batch(entry, dtype=dtype)
    target = target.to(dtype) if target.is_floating_point() else target
    wide = target.float() if target.is_floating_point() else target
    values = elements(entry, prediction, target, iou)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, elements(entry, prediction.float(), wide, iou))


def test_what_the_verifier_says_of_the_families() -> None:
    expressions = [one.default for one in CATALOGUE.families.values() if one.default.formula is not None]
    verdicts = {entry.name: verify(parse(entry.formula or "", entry.signature.name)) for entry in expressions}
    assert {name: verdict.code for name, verdict in verdicts.items() if not verdict.accepted} == {
        "splc": "falls-with-logit",  # a negative with p > τ is pushed up, on purpose
        "label-smoothing": "rises-with-logit",  # it aims at a finite logit
        "alpha-iou": "flat-while-overlapping",  # IoU³ where boxes hardly overlap
    }


# --- one test for each kind of truth


@named(*ALL)
def test_declared_points(entry: Entry) -> None:
    for point in entry.points:
        target = point.target if isinstance(point.target, int) else list(point.target)
        values, gradient = run(entry, (list(point.prediction), target, point.iou))
        assert close(values, list(point.value), 1e-10), (values, point.value)
        assert close(gradient, list(point.gradient), 1e-10), (gradient, point.gradient)


@named(*ALL, *POINTS)
def test_agrees_with_the_reference(entry: Entry) -> None:
    for sample in samples(entry, 8 if entry.points else 3):
        values, gradient = run(entry, sample)
        wanted_values, wanted_gradient = reference_losses.sample(entry.name, *sample)
        assert close(values, [float(v) for v in wanted_values], 1e-12), sample
        assert close(gradient, [float(g) for g in wanted_gradient], 1e-12), sample


@named(*CLASSIFICATION, *(entry for entry in FIRST if entry.signature.name.startswith("cls")))
def test_agrees_with_the_reference_at_extremes(entry: Entry) -> None:
    background = 2 if entry.signature.name == "cls-binary" else 1
    # Of a family's other points only the farthest: each takes a while in 150 digits.
    far, ious = ((-100.0, -40.0), (0.0, 0.3, 1.0)) if entry.points else ((-100.0,), (0.3,))
    for low, high, target, w in itertools.product(far, [-x for x in far], (0, 1, background), ious):
        sample = ([low, high], target, w)
        values, gradient = run(entry, sample)
        wanted_values, wanted_gradient = reference_losses.sample(entry.name, *sample)
        assert close(values, [float(v) for v in wanted_values], 1e-12), sample
        assert close(gradient, [float(g) for g in wanted_gradient], 1e-12), sample


@named(*CLASSIFICATION, *(entry for entry in FIRST if entry.signature.name.startswith("cls")))
def test_is_finite_in_float32_at_extremes(entry: Entry) -> None:
    for first, second, target in itertools.product((-100.0, 0.0, 100.0), (-100.0, 100.0), (0, 1)):
        values, gradient = run(entry, ([first, second], target, 0.6), torch.float32)
        assert torch.tensor(values + gradient).isfinite().all(), (first, second, target)


@named(*ALL, *FIRST)
def test_float32_agrees_with_float64(entry: Entry) -> None:
    for sample in samples(entry):
        narrow, wide = run(entry, sample, torch.float32), run(entry, sample)
        assert close(narrow[0], wide[0], 5e-5)
        assert close(narrow[1], wide[1], 2e-3)


@named(*(entry for entry in (*ALL, *FIRST) if entry.name not in reference_losses.HELD))
def test_gradcheck(entry: Entry) -> None:
    prediction, target, iou = batch(entry)
    assert gradcheck(lambda p: elements(entry, p, target, iou), prediction.requires_grad_())


@named(*EXPRESSIONS)
def test_stable_form_is_the_plain_form(entry: Entry) -> None:
    assert entry.formula is not None
    graph = parse(entry.formula, entry.signature.name)
    variables = inputs(entry, *batch(entry, 40))
    stable, plain = compile_graph(graph)(variables), compile_graph(graph, stable=False)(variables)
    torch.testing.assert_close(stable, plain, rtol=1e-10, atol=1e-12)


@named(*ALL)
def test_infimum(entry: Entry) -> None:
    least = min(elements(entry, *probe).min().item() for probe in probes(entry))
    assert entry.infimum is None or entry.infimum - 1e-6 <= least <= entry.infimum + 1e-3


@named(*ALL)
def test_reductions(entry: Entry) -> None:
    prediction, target, _ = batch(entry)
    each = entry.make("none")(prediction, target)
    torch.testing.assert_close(entry.make("sum")(prediction, target), each.sum())
    torch.testing.assert_close(entry.make("mean")(prediction, target), each.mean())
    assert each.shape == (prediction.shape if entry.signature.name == "cls-binary" else prediction.shape[:1])


def probes(entry: Entry) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Predictions from everywhere on the branch's domain, the best one included."""
    generator = torch.Generator().manual_seed(3)
    if entry.signature.name == "reg":
        unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
        pred, target = boxes(2000, generator), boxes(2000, generator)
        yield torch.cat([pred, target, unit]), torch.cat([target, target, unit]), None
        return
    edge = 1.0 if entry.signature.name == "margin" else 60.0
    line = torch.linspace(-edge, edge, 481, dtype=torch.float64)
    prediction = torch.stack([line, line.flip(0)], -1)
    for index, w in itertools.product(
        (0, 1, 2) if entry.signature.name == "cls-binary" else (0, 1), (0.0, 0.4, 1.0)
    ):
        yield prediction, torch.full((481,), index), torch.full((481,), w, dtype=torch.float64)


# --- declared properties


@named(*ALL, *FIRST)
def test_non_negative(entry: Entry) -> None:
    negative = any((elements(entry, *probe) < -1e-12).any() for probe in probes(entry))
    assert negative == ("non-negative" not in entry.properties)


@named(*CLASSIFICATION, *(entry for entry in FIRST if entry.signature.name.startswith("cls")))
def test_monotone_in_the_logit(entry: Entry) -> None:
    line = torch.linspace(-20, 20, 801, dtype=torch.float64)
    rises = falls = False
    for w in (0.2, 0.7, 1.0):
        iou = torch.full((801,), w, dtype=torch.float64)
        prediction = torch.stack([line, torch.zeros_like(line)], -1)
        loss = elements(entry, prediction, torch.zeros(801, dtype=torch.int64), iou).reshape(801, -1)[:, 0]
        rises |= bool((loss.diff() > 1e-12).any())
        other = elements(entry, prediction, torch.ones(801, dtype=torch.int64), iou).reshape(801, -1)[:, 0]
        falls |= bool((other.diff() < -1e-12).any())
    assert (rises or falls) == ("monotone" not in entry.properties)


@named(*(entry for entry in ALL if entry.signature.name == "margin"))
def test_monotone_in_the_cosine(entry: Entry) -> None:
    line = torch.linspace(-0.999, 0.999, 801, dtype=torch.float64)
    prediction = torch.stack([line, torch.full_like(line, 0.3)], -1)
    own = elements(entry, prediction, torch.zeros(801, dtype=torch.int64))
    other = elements(entry, prediction, torch.ones(801, dtype=torch.int64))
    assert "monotone" in entry.properties
    assert (own.diff() <= 1e-9).all()
    assert (other.diff() >= -1e-9).all()


@named(*BOXES, *(entry for entry in FIRST if entry.signature.name == "reg"))
def test_monotone_towards_the_target(entry: Entry) -> None:
    generator = torch.Generator().manual_seed(5)
    target, start = boxes(400, generator), boxes(400, generator)
    steps = torch.linspace(0, 1, 60, dtype=torch.float64)
    rises = False
    before = None
    for step in steps:
        moved = torch.lerp(start, target, step)
        overlap = box_inputs(moved, target)["I"] > 0
        now = elements(entry, moved, target)
        if before is not None:
            rises |= bool(((now > before[0] + 1e-9) & before[1]).any())
        before = (now, overlap)
    assert rises == ("monotone" not in entry.properties)


@named(*BOXES, *(entry for entry in FIRST if entry.signature.name == "reg"))
def test_scale_invariant(entry: Entry) -> None:
    generator = torch.Generator().manual_seed(11)
    pred, target = boxes(50, generator), boxes(50, generator)
    same = torch.allclose(elements(entry, pred, target), elements(entry, pred * 10, target * 10), atol=1e-6)
    assert same == ("scale-invariant" in entry.properties)


@named(*(entry for entry in ALL if entry.signature.name != "reg" or "convex" in entry.properties))
def test_convex(entry: Entry) -> None:
    generator = torch.Generator().manual_seed(13)
    bent = False
    for prediction, target, iou in probes(entry):
        order = torch.randperm(len(prediction), generator=generator)
        # Both ends of a chord must have the same target.
        if entry.signature.name == "reg":
            target = target[:1].expand_as(prediction)
        middle = elements(entry, (prediction + prediction[order]) / 2, target, iou)
        ends = (
            elements(entry, prediction, target, iou) + elements(entry, prediction[order], target, iou)
        ) / 2
        bent |= bool((middle > ends + 1e-9).any())
    assert bent == ("convex" not in entry.properties)


@named(*CLASSIFICATION, *(entry for entry in FIRST if entry.signature.name.startswith("cls")))
def test_iou_aware(entry: Entry) -> None:
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    low, high = (elements(entry, logits, torch.tensor([0]), torch.tensor([w])) for w in (0.3, 0.9))
    assert (not torch.equal(low, high)) == ("iou-aware" in entry.properties)


@named(*BINARY, *(entry for entry in FIRST if entry.signature.name == "cls-binary"))
def test_aims_at_iou(entry: Entry) -> None:
    line = torch.linspace(-30, 30, 6001, dtype=torch.float64).unsqueeze(-1)
    target = torch.zeros(6001, dtype=torch.int64)
    least = []
    for w in (0.1, 0.3, 0.5, 0.7, 0.9):
        loss = elements(entry, line, target, torch.full((6001,), w)).flatten()
        at = int(loss.argmin())
        one_minimum = bool((loss[: at + 1].diff() <= 1e-12).all() and (loss[at:].diff() >= -1e-12).all())
        least.append(line[at].item() if one_minimum else float("inf"))
    aims = sorted(set(least)) == least and least[0] > -10 and least[-1] < 10
    assert aims == ("aims-at-iou" in entry.properties)


# --- torch's own, and the papers' corner cases


def test_bce_is_torchs() -> None:
    logits = torch.randn(64, 5) * 10
    target = torch.randint(0, 6, (64,))
    one_hot = functional.one_hot(target, 6)[:, :5].float()
    wanted = functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    torch.testing.assert_close(
        load_loss("bce", reduction="none")(logits, target), wanted, rtol=1e-6, atol=1e-6
    )


def test_cross_entropy_is_torchs() -> None:
    logits, target = torch.randn(64, 6) * 10, torch.randint(0, 6, (64,))
    for reduction in ("none", "mean", "sum"):
        wanted = functional.cross_entropy(logits, target, reduction=reduction)
        torch.testing.assert_close(
            load_loss("cross-entropy", reduction=reduction)(logits, target), wanted, rtol=1e-6, atol=1e-6
        )


def test_varifocal_takes_a_positive_without_overlap_for_a_negative() -> None:
    # VFNet's two cases are split by q, not by y.
    loss, logits = load_loss("varifocal", reduction="none"), torch.tensor([[1.5]])
    torch.testing.assert_close(
        loss(logits, torch.tensor([0]), torch.tensor([0.0])), loss(logits, torch.tensor([1]))
    )


def test_alpha_weights_positives_and_the_rest() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 3, 0])
    plain, weighted = (load_loss("focal", reduction="none", alpha=a)(logits, target) for a in (None, 0.25))
    y = functional.one_hot(target, 4)[:, :3]
    torch.testing.assert_close(weighted, plain * (0.25 * y + 0.75 * (1 - y)))


def test_b_cls_is_weighted_as_published_unless_told() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 3, 0])
    default, given = load_loss("cse-autoloss-b-cls"), load_loss("cse-autoloss-b-cls", alpha=0.25)
    assert torch.equal(default(logits, target), given(logits, target))
    assert not torch.equal(
        default(logits, target), load_loss("cse-autoloss-b-cls", alpha=None)(logits, target)
    )


def test_alpha_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ConfigError, match="a reg loss has none"):
        load_loss("giou", alpha=0.25)
    with pytest.raises(ConfigError, match="a margin loss has none"):
        load_loss("arcface", alpha=0.25)
    with pytest.raises(ConfigError, match="alpha must be a number in"):
        load_loss("focal", alpha=2.0)


def test_arcface_and_cosface_logits() -> None:
    cosine, target = torch.tensor([[0.5, -0.3]], dtype=torch.float64), torch.tensor([0])
    arc, cosface = load_loss("arcface"), load_loss("cosface")
    wanted = 64 * torch.cos(torch.acos(torch.tensor(0.5, dtype=torch.float64)) + 0.5)
    torch.testing.assert_close(arc.logits(cosine, target)[0, 0], wanted)  # type: ignore[operator]
    torch.testing.assert_close(
        cosface.logits(cosine, target)[0], 64 * (cosine[0] - torch.tensor([0.35, 0.0]))
    )  # type: ignore[operator]


@pytest.mark.parametrize("name", ["l-softmax", "a-softmax", "arcface", "combined-margin"])
def test_margins_have_finite_gradients_at_the_ends(name: str) -> None:
    cosine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    load_loss(name)(cosine, torch.tensor([0, 0])).backward()
    assert cosine.grad is not None
    assert cosine.grad.isfinite().all()


def test_the_comparison_notices_a_wrong_value() -> None:
    assert close([1.0, 2.0], [1.0, 2.0 + 1e-13], 1e-12)
    assert not close([1.0, 2.0], [1.0, 2.0 + 1e-11], 1e-12)
    assert not close([float("nan")], [1.0], 1e-12)
