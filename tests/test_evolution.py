from dataclasses import dataclass, replace

import pytest

from cse_autoloss.searches.evolution import Evolution
from cse_autoloss.searches.protocol import Member, SearchState, ranked, slot_of, turns_of
from cse_autoloss.spaces import SIGNATURES, parse


@dataclass(frozen=True)
class Rates:
    population: int = 5
    tournament: int = 3
    crossover: float = 0.4
    subtree_mutation: float = 0.2
    point_mutation: float = 0.2
    random_fraction: float = 0.2
    families: float = 0.1
    numbers: float = 0.1
    handcrafted_seeds: bool = True
    turns: tuple[str, ...] = ()
    max_depth: int = 8
    max_nodes: int = 30
    init_depth: tuple[int, int] = (2, 4)
    operators: tuple[str, ...] | None = None


BOTH = {"cls": SIGNATURES["cls-binary"], "reg": SIGNATURES["reg"]}
REG = {"reg": SIGNATURES["reg"]}


def member(formula: str, *scores: float) -> Member:
    return Member(formula, parse(formula, "reg").digest, "seed", 0, scores)


def populated() -> tuple[Evolution, SearchState]:
    evolution = Evolution(Rates(), REG, seed=1)
    members = (member("Sub(1,Div(I,U))", 0.4), member("Neg(Log(Div(I,U)))", 0.5), member("Sub(U,I)", 0.1))
    return evolution, evolution.tell(evolution.init(), members)


def test_same_state_same_questions() -> None:
    evolution, state = populated()
    again = Evolution(Rates(), REG, seed=1)
    assert evolution.ask(state, 0, 30) == again.ask(SearchState.from_json(state.to_json()), 0, 30)
    assert evolution.ask(state, 0, 30) != evolution.ask(state, 1, 30)
    assert evolution.ask(state, 0, 30) != Evolution(Rates(), REG, seed=2).ask(state, 0, 30)


def test_every_kind_of_variation_comes_up_and_keeps_the_limits() -> None:
    evolution, state = populated()
    proposals = evolution.ask(state, 0, 400)
    assert {p.origin for p in proposals} == {
        "random",
        "crossover",
        "subtree",
        "point",
        "constant",
        "number",
        "family",
    }
    assert all(p.graph.tree_size <= 30 and p.graph.depth <= 8 for p in proposals)
    digests = {m.digest for m in state.populations["reg"]}
    assert all(set(p.parents) <= digests for p in proposals)
    assert all(bool(p.parents) == (p.origin not in ("random", "family")) for p in proposals)


def test_selection_prefers_the_best() -> None:
    evolution, state = populated()
    parents = [p.parents[0] for p in evolution.ask(state, 0, 600) if p.parents]
    counts = [parents.count(m.digest) for m in ranked(state.populations["reg"])]
    assert counts[0] > counts[1] > counts[2]


def test_the_best_stay() -> None:
    evolution, state = populated()
    newcomers = tuple(member(f"Add({i % 3 + 1},Sub(1,Div(I,{'UE'[i // 3]})))", 0.01 * i) for i in range(6))
    after = evolution.tell(state, newcomers)
    survivors = after.populations["reg"]
    assert len(survivors) == 5
    assert [m.fitness for m in survivors] == sorted((m.fitness for m in survivors), reverse=True)
    assert survivors[0].fitness == 0.5


def test_fitness_is_the_mean_over_seeds_so_luck_does_not_last() -> None:
    evolution, state = populated()
    lucky = ranked(state.populations["reg"])[0]
    after = evolution.tell(state, (replace(lucky, scores=(0.5, 0.1)),))
    assert ranked(after.populations["reg"])[0].formula == "Sub(1,Div(I,U))"


def test_what_failed_never_enters() -> None:
    evolution, state = populated()
    after = evolution.tell(state, (member("Sub(E,I)"),))
    assert all(m.formula != "Sub(E,I)" for m in after.populations["reg"])


def test_slots_take_turns() -> None:
    evolution = Evolution(Rates(), BOTH, seed=0)
    state = evolution.init()
    assert [p.graph.signature.name for p in evolution.ask(state, 0, 3)] == ["cls-binary"] * 3
    state = evolution.tell(state, ())
    assert [p.graph.signature.name for p in evolution.ask(state, 0, 3)] == ["reg"] * 3


def test_slots_have_as_many_turns_as_they_are_given() -> None:
    evolution = Evolution(Rates(turns=("cls", "reg", "cls")), BOTH, seed=0)
    assert [slot_of(turns_of(evolution), number) for number in range(5)] == [
        "cls",
        "reg",
        "cls",
        "cls",
        "reg",
    ]
    assert turns_of(Evolution(Rates(turns=("cls", "reg", "cls")), REG, seed=0)) == ("reg",)
    assert turns_of(Evolution(Rates(turns=("cls", "cls")), BOTH, seed=0)) == ("cls", "reg")


def test_the_first_generation_is_bred_from_the_starters() -> None:
    graph = parse("Sub(1,Div(I,U))", "reg")
    evolution = Evolution(Rates(), REG, 0, starters={"reg": (graph,)})
    proposals = evolution.ask(evolution.init(), 0, 100)
    assert sum(p.parents[:1] == (graph.digest,) for p in proposals) > 50


@pytest.mark.parametrize("name", ["scores", "formula"])
def test_state_survives_json(name: str) -> None:
    _, state = populated()
    back = SearchState.from_json(state.to_json())
    assert [getattr(m, name) for m in back.populations["reg"]] == [
        getattr(m, name) for m in state.populations["reg"]
    ]
