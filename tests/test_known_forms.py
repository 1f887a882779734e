"""Breeding from what is known: numbers changed as numbers, and points of the catalogue's families."""

from __future__ import annotations

import random
import re

import pytest
import torch

import cse_autoloss as cal
from cse_autoloss.losses.family import Moving, number
from cse_autoloss.searches.evolution import Evolution
from cse_autoloss.searches.evolution.genome import PrimitiveSet, seeded
from cse_autoloss.searches.evolution.known import drawn_point, families_of
from cse_autoloss.searches.evolution.numbers import NUMBERS, mutate_number
from cse_autoloss.settings.schema import EvolutionSettings
from cse_autoloss.spaces import parse, signature_of
from cse_autoloss.spaces.progress import plain_of

BINARY, MULTICLASS, BOXES = "cls-binary", "cls-multiclass", "reg"


def value(text: str, progress: float = 1.0) -> float:
    """What a number's expression comes to."""
    plain = re.sub(r"\bT\b", repr(progress), text)
    for name in ("Add", "Sub", "Mul", "Div", "Neg"):
        plain = plain.replace(f"{name}(", f"torch.{name.lower()}(")
    plain = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)", r"torch.tensor(\1, dtype=torch.float64)", plain)
    return float(eval(plain, {"torch": torch}))


@pytest.mark.parametrize("wanted", NUMBERS)
def test_numbers_are_short_to_write_and_right(wanted: float) -> None:
    text = number(wanted)
    assert value(text) == pytest.approx(wanted, abs=1e-12)
    assert len(re.findall(r"\w+", text)) <= 14


def test_a_third_is_one() -> None:
    assert number(1 / 3) == "Div(1,3)"
    assert number(0.123) == number(0.123000000000)
    assert value(number(0.123)) == pytest.approx(0.123, abs=1e-12)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (2.0, 0.5), (1 / 3, 5 / 6)])
def test_what_moves_begins_and_ends_where_it_should(start: float, end: float) -> None:
    text = number(Moving(start, end))
    for progress in (0.0, 0.25, 1.0):
        assert value(text, progress) == pytest.approx(start + (end - start) * progress, abs=1e-9)
    assert value(number(1 - Moving(start, end)), 0.0) == pytest.approx(1 - start, abs=1e-9)  # type: ignore[operator]


@pytest.mark.parametrize("name", [BINARY, MULTICLASS, BOXES])
@pytest.mark.parametrize("moves", [False, True])
def test_points_of_families_are_losses_of_the_signature(name: str, moves: bool) -> None:
    signature = signature_of(f"{name}-progress" if moves else name)
    families = families_of(signature)
    assert families == families_of(plain_of(signature))
    with seeded(1):
        drawn = [drawn_point(families, signature) for _ in range(80)]
    with seeded(1):
        assert [one.formula for one in drawn] == [drawn_point(families, signature).formula for _ in range(80)]
    assert {one.signature for one in drawn} == {signature}
    assert len({one.digest for one in drawn}) > 10
    assert any("T" in re.findall(r"\w+", one.formula) for one in drawn) is moves
    accepted = [cal.verify(one.formula, signature=signature.name).accepted for one in drawn[:30]]
    assert sum(accepted) > 8


def test_a_users_signature_has_no_families() -> None:
    signature = cal.Signature("mine", [cal.Input("r")], default="Mul(r,r)", walks=[cal.Walk("r", 3.0, 0.0)])
    assert families_of(signature) == ()


@pytest.mark.parametrize("name", ["quality-gce", "varifocal"])
def test_a_number_changes_as_one(name: str) -> None:
    primitives = PrimitiveSet.of(signature_of(BINARY))
    parent = primitives.to_tree(parse(cal.load_loss(name, alpha=None).formula, BINARY))
    with seeded(2):
        children = [primitives.to_graph(mutate_number(parent, primitives)) for _ in range(60)]
    assert len({one.digest for one in children}) > 15
    if name == "quality-gce":
        # The exponent stands twice: where both change together it is another point of the family.
        inside = re.compile(r"Exp\(Mul\((.+),Log\(Sig\(X\)\)\)\)\),(.+)\)\)\)\)$")
        both = [found for one in children if (found := inside.search(one.formula))]
        assert any(found[1] == found[2] != "Div(3,Add(1,Mul(3,3)))" for found in both)


def test_numbers_move_where_losses_read_the_progress() -> None:
    primitives = PrimitiveSet.of(signature_of(f"{BINARY}-progress"))
    parent = primitives.to_tree(parse(cal.load_loss("quality-gce", alpha=None).formula, f"{BINARY}-progress"))
    with seeded(3):
        formulas = [primitives.to_graph(mutate_number(parent, primitives)).formula for _ in range(60)]
    moving = [one for one in formulas if "T" in re.findall(r"\w+", one)]
    assert 10 < len(moving) < 50
    assert any(cal.verify(one, signature=f"{BINARY}-progress").accepted for one in moving)


def test_a_loss_without_numbers_is_changed_all_the_same() -> None:
    primitives = PrimitiveSet.of(signature_of(BOXES))
    parent = primitives.to_tree(parse("Neg(Log(Div(I,U)))", BOXES))
    with seeded(4):
        children = [primitives.to_graph(mutate_number(parent, primitives)).formula for _ in range(20)]
    assert len(set(children)) > 3


def test_numbers_are_written_with_the_operators_that_are_searched() -> None:
    primitives = PrimitiveSet.of(signature_of(BOXES), ["Sub", "Log", "Neg"])
    parent = primitives.to_tree(parse("Sub(2,Log(I))", BOXES))
    with seeded(5):
        children = [primitives.to_graph(mutate_number(parent, primitives)) for _ in range(40)]
    assert {node.symbol for one in children for node in one.nodes if node.args} <= {"Sub", "Log", "Neg"}


def test_nothing_is_left_of_the_randomness() -> None:
    random.seed(9)
    expected = random.random()
    random.seed(9)
    with seeded(1):
        drawn_point(families_of(signature_of(BINARY)), signature_of(BINARY))
    assert random.random() == expected


@pytest.mark.parametrize("handcrafted", [True, False])
def test_a_start_from_nothing_knows_no_families(handcrafted: bool) -> None:
    rates = EvolutionSettings(handcrafted_seeds=handcrafted, families=0.5)
    starters = {"cls": [parse(cal.load_loss("bce", alpha=None).formula, BINARY)]}
    evolution = Evolution(rates, {"cls": signature_of(BINARY)}, 0, starters)
    origins = {one.origin for one in evolution.ask(evolution.init(), 0, 60)}
    assert ("family" in origins) is handcrafted
