"""Bounds of a slope by its own slopes: above every value, and sharp enough for GIoU."""

from __future__ import annotations

import numpy as np
import pytest

from cse_autoloss.certify import QUICK, certificate_of
from cse_autoloss.certify.bisect import Budget, decide, halve
from cse_autoloss.certify.boxes import _scene, degree_of
from cse_autoloss.certify.scene import TOLERANCE, Scene
from cse_autoloss.certify.sharp import upper_bound
from cse_autoloss.losses import GraphLoss, load_loss
from cse_autoloss.spaces import parse

COMING = "Never rises while overlapping boxes come together"
KINKED = "Add(Abs(Sub(Div(I,U),Div(1,2))),Relu(Sub(Div(I,E),Div(1,3))))"
NOT_ROUND = "Mul(Sqrt(Sub(1,Div(I,U))),Sub(2,Div(U,E)))"


def scene(text: str, lead: str = "missed") -> Scene:
    loss = load_loss(text, "reg")
    assert isinstance(loss, GraphLoss)
    return _scene(loss.graph, lead, degree_of(loss.graph))


def boxes(
    one: Scene, count: int, side: float, random: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random boxes of the domain, of a share `side` of it at most."""
    found = {}
    for axis in one.axes:
        a = random.uniform(axis.low, axis.high, count)
        b = np.minimum(a + side * random.uniform(0, 1, count) * (axis.high - axis.low), axis.high)
        found[axis.name] = (a, b)
    return found


@pytest.mark.parametrize("side", [1.0, 0.1, 1e-4])
@pytest.mark.parametrize("text", ["giou", "log-iou", KINKED, NOT_ROUND, "cse-autoloss-a-reg"])
def test_no_value_in_a_box_is_above_its_bound(text: str, side: float) -> None:
    one, random = scene(text), np.random.default_rng(0)
    bound = upper_bound(one, one.slope)
    taken = boxes(one, 300, side, random)
    high, reach = bound(taken)
    assert reach.shape == (300, len(one.axes))
    assert (reach >= 0).all()
    for turn in range(30):
        inside, corners = random.uniform(size=(len(taken), 300)), random.integers(0, 3, (len(taken), 300)) / 2
        share = corners if turn % 2 else inside
        points = {n: (a + s * (b - a),) * 2 for (n, (a, b)), s in zip(taken.items(), share, strict=True)}
        low, _ = one.ranges(one.slope, points)
        assert (np.isnan(low) | (low <= high)).all()


def test_a_bound_is_never_looser_and_on_small_boxes_sharper_than_the_plain_one() -> None:
    one, random = scene("giou"), np.random.default_rng(1)
    bound = upper_bound(one, one.slope)
    for side, sharper in ((1.0, 1.0), (1e-3, 4.0)):
        taken = boxes(one, 300, side, random)
        high, _ = bound(taken)
        _, plain = one.ranges(one.slope, taken)
        middle = {n: ((a + b) / 2,) * 2 for n, (a, b) in taken.items()}
        _, there = one.ranges(one.slope, middle)
        assert (high <= plain).all()
        assert np.median(plain - there) >= sharper * np.median(high - there)


def test_where_a_step_may_have_no_value_nothing_is_bounded() -> None:
    one = scene("Log(Sub(Div(I,U),Div(1,2)))")
    bound = upper_bound(one, one.slope)
    whole = {axis.name: (np.array([axis.low]), np.array([axis.high])) for axis in one.axes}
    assert bound(whole)[0] == np.inf


def test_a_box_is_halved_across_the_axis_that_moves_its_slope_most() -> None:
    axes = scene("giou").axes[:3]
    low, high = np.zeros((2, 3)), np.tile([1.0, 0.5, 0.25], (2, 1))
    reach = np.array([[0.1, 0.2, 0.3], [0.1, np.inf, 0.3]])
    lows, highs = halve(axes, low, high, reach)
    assert (highs[:2] < high).tolist() == [
        [False, False, True],
        [True, False, False],  # not all is known of the second: its longest side
    ]
    assert (lows[2:] == np.where(highs[:2] < high, highs[:2], low)).all()


def test_giou_is_proved_to_fall_along_all_motions_within_what_a_run_has() -> None:
    graph = load_loss("giou").graph  # type: ignore[attr-defined]
    (found,) = (one for one in certificate_of(graph, boxes=QUICK, signs=True).findings if one.name == COMING)
    assert found.outcome == "proved"
    one = scene("giou")
    allowed = TOLERANCE * one.scale
    plain = decide(
        one.axes,
        lambda taken: (
            one.ranges(one.slope, taken)[1] <= allowed, one.ranges(one.slope, taken)[0] > allowed,
            one.ranges(one.slope, taken)[0],
        ),
        Budget(5 * QUICK),
    )  # fmt: skip
    assert plain.remaining  # what it takes plain intervals much longer to see


def test_a_loss_that_rises_in_a_corner_alone_is_not_proved() -> None:
    """GIoU less a square of what lies around: it rises where boxes hardly overlap, far outside of their targets."""
    graph = parse(
        "Sub(Add(Sub(1,Div(I,U)),Div(Sub(E,U),E)),Mul(2,Mul(Div(Sub(E,U),E),Div(Sub(E,U),E))))", "reg"
    )
    (found,) = (one for one in certificate_of(graph, boxes=QUICK, signs=True).findings if one.name == COMING)
    assert found.outcome == "refuted"
    assert found.witness is not None
