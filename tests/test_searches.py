"""The searches, by the conformance suite, and what it costs to add one, a loss or a metric."""

import math
from pathlib import Path
from typing import Any

import pytest

import cse_autoloss
from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.losses.catalogue import Catalogue
from cse_autoloss.losses.entry import Entry
from cse_autoloss.searches.protocol import Member, SearchState, ranked
from cse_autoloss.searches.registry import SEARCHES, make_search
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import signature_of
from cse_autoloss.testing.searches import SearchConformance

OWN = '''
"""Candidates are multiples of the square, one a generation: a search in one file."""
from cse_autoloss.graph import parse_formula
from cse_autoloss.searches.protocol import Proposal, SearchState, slot_of


class Multiples:
    expressions, samples = True, None

    def __init__(self, config, slots, starters=None):
        self.slots, self._seed = dict(slots), config.seed

    def init(self):
        return SearchState(0, dict.fromkeys(self.slots, ()))

    def ask(self, state, attempt, count):
        signature = self.slots[slot_of(self.slots, state.generation)]
        text = f"Mul({signature.default},{1 + (state.generation + self._seed) % 3})"
        return [Proposal.of(parse_formula(text, signature), "multiple")]

    def tell(self, state, trained):
        return state.survived(slot_of(self.slots, state.generation), trained, 8)

    def guess(self, state):
        return {}
'''


class TestEvolution(SearchConformance):
    search = "evolution"


class TestRandom(SearchConformance):
    search = "random"


class TestReinforce(SearchConformance):
    search = "reinforce"


class TestRandomSoftmax(SearchConformance):
    search = "reinforce"
    settings = {"reinforce.space": "random-softmax"}  # noqa: RUF012


class TestCma(SearchConformance):
    search = "cma"

    def test_it_goes_where_the_worth_is(self) -> None:
        """The centre comes nearer to a planted optimum."""
        from cse_autoloss.searches.parametric import theta_of

        class Planted(TestCma):
            settings = {"reinforce.intervals": 1, "reinforce.samples": 12}  # noqa: RUF012
            generations = 25

            def worth(self, proposal: Any, slot: str) -> float:
                return -math.dist(theta_of(proposal.formula), (1.4, 0.3, 0.7, 0.2))

        planted = Planted()
        states = planted.driven(search := planted.made())
        ends = [planted.worth(search.guess(s)["cls"], "cls") for s in (states[0], states[-1])]
        assert ends[1] > 0.2 * ends[0]


class TestOwnFile(SearchConformance):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("search") / "multiples.py"
        path.write_text(OWN, encoding="utf-8")
        type(self).search = f"{path}:Multiples"


def test_a_search_in_a_file_drives_a_whole_run(tmp_path: Path) -> None:
    (tmp_path / "multiples.py").write_text(OWN, encoding="utf-8")
    result = cse_autoloss.evolve(
        config="smoke",
        out=tmp_path / "run",
        executor="inprocess",
        search=f"{tmp_path / 'multiples.py'}:Multiples",
        slot="reg",
        evolution__handcrafted_seeds=False,
        evolution__scouts=0,
    )
    assert result.summary["best"]["losses"]["reg"]
    assert {m["origin"] for m in result.summary["hall_of_fame"]["reg"]} == {"multiple"}


def test_a_parametric_search_needs_a_softmax() -> None:
    config = load_config(None, {"search": "cma"})
    with pytest.raises(ConfigError, match="is a space of softmax losses"):
        make_search(config, {"cls": signature_of("cls-binary")}, {})


def test_names_are_checked() -> None:
    with pytest.raises(AutoLossError, match="did you mean 'evolution'"):
        SEARCHES.get("evolutoin")


def test_a_handcrafted_loss_is_one_entry() -> None:
    entry = Entry("double-iou", "twice IoU loss", signature_of("reg"), "this test", "Mul(2,Sub(1,Div(I,U)))")
    catalogue = Catalogue((entry,), ())
    assert catalogue["double-iou"].make("none").formula == entry.formula
    assert cse_autoloss.verify(entry.formula, "reg").accepted


def test_the_best_known_loss_stays_in_a_population_that_has_outgrown_it() -> None:
    known = [Member(name, name, "seed", 0, (worth,), name) for name, worth in (("a", 0.1), ("b", 0.3))]
    found = [Member(str(i), str(i), "point", 0, (1.0 + i,)) for i in range(6)]
    state = SearchState(0, {"cls": ()}).survived("cls", [*known, *found], 4)
    assert [member.formula for member in state.populations["cls"]] == ["5", "4", "3", "b"]


def test_what_is_expected_ranks_before_own_scores() -> None:
    lucky = Member("lucky", "1", "point", 0, (0.6,), expected=0.5)
    sound = Member("sound", "2", "point", 0, (0.55,), expected=0.54)
    assert [member.formula for member in ranked([lucky, sound])] == ["sound", "lucky"]
    kept = SearchState(1, {"cls": (lucky, sound)})
    assert SearchState.from_json(kept.to_json()) == kept
