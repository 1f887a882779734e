"""The model of slopes: what it learns, whom it chooses, and that a resumed run chooses as it would have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone

from cse_autoloss.discovery.choosing import AGREES, LEAST, Chooser, believed
from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.graph import LossGraph
from cse_autoloss.searches.protocol import Member, Proposal, ranked
from cse_autoloss.spaces import SIGNATURES, parse
from cse_autoloss.surrogate import Remembered, Surrogate, placed, shipped, slope_features

BOXES = [
    "Sub(1,Div(I,U))",
    "Neg(Log(Div(I,U)))",
    "Sub(1,Mul(Div(I,U),Div(I,U)))",
    "Add(Sub(1,Div(I,U)),Sub(1,Div(U,E)))",
    "Sub(2,Add(Div(I,U),Div(U,E)))",
    "Mul(2,Sub(1,Div(I,U)))",
    "Mul(3,Sub(1,Div(I,U)))",
    "Neg(Div(I,U))",
    "Sub(1,Div(I,E))",
    "Neg(Log(Div(I,E)))",
]


def boxes() -> list[LossGraph]:
    return [parse(formula, "reg") for formula in BOXES]


def told(count: int) -> dict[str, float | None]:
    return {formula: float(place) for place, formula in enumerate(BOXES[:count])}


def chooser(*, memory: bool = False, data: str = "digits") -> Chooser:
    return Chooser({"reg": SIGNATURES["reg"]}, 3, "detection", data, shipped() if memory else ())


def test_losses_with_the_same_slopes_are_at_the_same_place():
    one, other, shifted, double = slope_features(
        [parse(f, "reg") for f in ("Sub(1,Div(I,U))", "Add(Neg(Div(I,U)),1)", "Sub(3,Div(I,U))", BOXES[5])]
    )
    assert np.allclose(one, other)
    assert np.allclose(one, shifted)
    assert not np.allclose(one, double)


@pytest.mark.parametrize("signature", ["cls-binary", "reg"])
def test_it_foretells_trainings_that_it_has_not_seen(signature):
    own = [one for one in shipped() if one.signature == signature]
    features = slope_features([parse(one.formula, signature) for one in own])
    place = np.array([one.place for one in own])
    order = np.random.default_rng(0).permutation(len(own))
    known, rest = order[::2], order[1::2]
    mean = Surrogate(features[known], place[known]).foretell(features[rest])
    assert spearmanr(mean, place[rest])[0] > 0.6


def test_only_the_order_of_worths_counts():
    features, worth = slope_features(boxes()), np.arange(10.0)
    plain, bent = (Surrogate(features, w).foretell(features) for w in (worth, np.exp(worth) - 5))
    assert np.array_equal(plain, bent)
    assert placed(np.array([1.0, 2.0, 2.0])).tolist()[1:] == placed(np.array([0.0, 9.0, 9.0])).tolist()[1:]


def test_order_names_everybody_once_and_depends_on_the_draws_alone():
    model = Surrogate(slope_features(boxes()), np.arange(10.0))
    orders = [model.order(slope_features(boxes()), 4, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1


def test_the_best_known_region_comes_first():
    many = slope_features([parse(f"Mul({k},Sub(1,Div(I,U)))", "reg") for k in (1, 2, 3)] * 5)
    noise = np.random.default_rng(0).normal(scale=0.01, size=many.shape)
    worth = np.array([1.0, 2.0, 3.0] * 5)
    model = Surrogate(many + noise, worth)
    wanted = [model.order(many[:3], 1, np.random.default_rng(seed))[0] for seed in range(10)]
    assert wanted.count(2) >= 8


def test_a_chooser_that_knows_too_little_leaves_the_order():
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    young = chooser()
    young.note("reg", told(LEAST - 1))
    assert not young.knows("reg")
    assert young.sort(entrants, "reg", 1, 3) == entrants
    assert chooser(memory=True).knows("reg")
    assert not chooser(memory=True, data="other").knows("reg")


def test_what_is_remembered_of_other_data_is_believed_where_it_agrees() -> None:
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    remembered = {one.formula: one.place for one in shipped() if one.signature == "reg"}
    known = dict(list(remembered.items())[:30])

    def order(worth: dict[str, float], memory: bool) -> list[str | None]:
        one = chooser(memory=memory, data="other")
        one.note("reg", worth)
        return [entrant.proposal.formula for entrant in one.sort(entrants, "reg", 1, 4)]

    assert order(known, True) != order(known, False)
    contrary = {formula: -worth for formula, worth in known.items()}
    assert order(contrary, True) == order(contrary, False)


def test_kinds_of_data_are_believed_one_by_one() -> None:
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    own = [one for one in shipped() if (one.signature, one.data) == ("reg", "digits")]
    known = {one.formula: one.place for one in own[:30]}
    contrary = [replace(one, data="contrary", place=-one.place) for one in own]

    def order(memory: list[Remembered]) -> list[str | None]:
        one = Chooser({"reg": SIGNATURES["reg"]}, 3, "detection", "other", memory)
        one.note("reg", dict(known))
        return [entrant.proposal.formula for entrant in one.sort(entrants, "reg", 1, 4)]

    assert order([*own, *contrary]) == order(own) != order(contrary)


def test_trainings_of_an_earlier_run_that_are_alike_are_as_its_own() -> None:
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    memory = [Remembered("detection", "digits", "reg", f, 0.0, (worth,)) for f, worth in told(10).items()]
    one, other = Chooser({"reg": SIGNATURES["reg"]}, 3, "detection", "digits", memory), chooser()
    other.note("reg", told(10))
    assert [e.proposal.formula for e in one.sort(entrants, "reg", 1, 4)] == [
        e.proposal.formula for e in other.sort(entrants, "reg", 1, 4)
    ]


def test_failed_trainings_are_worth_least():
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    one, other = chooser(), chooser()
    one.note("reg", {**told(9), BOXES[9]: None})
    other.note("reg", {**told(9), BOXES[9]: -5.0})
    assert one.sort(entrants, "reg", 1, 3) == other.sort(entrants, "reg", 1, 3)


def test_it_does_not_matter_in_which_order_trainings_became_known():
    entrants = [Entrant(Proposal.of(graph, "random")) for graph in boxes()]
    one, other = chooser(), chooser()
    one.note("reg", told(10))
    other.note("reg", dict(reversed(told(10).items())))
    assert [e.proposal.formula for e in one.sort(entrants, "reg", 1, 4)] == [
        e.proposal.formula for e in other.sort(entrants, "reg", 1, 4)
    ]


def test_what_is_expected_of_a_lucky_loss_is_less_than_its_score() -> None:
    many = [parse(f"Mul({k},Sub(1,Div(I,U)))", "reg") for k in (1, 2, 3)]
    features = np.repeat(slope_features(many), 12, axis=0)
    rng = np.random.default_rng(0)
    features += rng.normal(scale=0.01, size=features.shape)
    truth = np.repeat([0.50, 0.52, 0.54], 12)
    worth = truth + rng.normal(scale=0.02, size=len(truth))
    expected = Surrogate(features, worth).expected(features)
    assert np.abs(expected - truth).mean() < 0.6 * np.abs(worth - truth).mean()
    assert worth.min() <= expected.min() <= expected.max() <= worth.max()


def test_scores_of_more_seeds_are_believed_more() -> None:
    features = slope_features(boxes())
    worth = np.arange(10.0)
    worth[0] = 20.0
    once, often = (
        Surrogate(features, worth, seeds=np.r_[n, np.ones(9)]).foretell(features)[0] for n in (1, 50)
    )
    assert often > once


def test_a_chooser_expects_of_members_what_all_seeds_say() -> None:
    members = [Member(f, f, "random", 0, (float(place),)) for place, f in enumerate(BOXES)]
    one = chooser()
    one.note("reg", told(LEAST))
    assert one.expected(members, "reg") == tuple(members)  # too little is known
    one.note("reg", told(10))
    assert one.expected(members, "reg") == tuple(members)
    more = {f"Mul({k},{f})": place + 0.5 for place, f in enumerate(BOXES) for k in (2, 3)}
    one.note("reg", more)
    told_of = one.expected(members, "reg")
    assert all(member.expected is not None for member in told_of)
    assert spearmanr([m.expected for m in told_of], [m.fitness for m in told_of])[0] > 0.5
    assert ranked(told_of)[0].standing == max(m.expected for m in told_of if m.expected is not None)


def test_left_out_is_what_a_process_without_each_training_foretells() -> None:
    features, worth = slope_features(boxes()), np.arange(10.0)
    model = Surrogate(features, worth)
    foretold = []
    for place in range(10):
        others = np.arange(10) != place
        process = clone(model._model)
        process.alpha = model._model.alpha[others]
        process.fit(model._project(features)[others], placed(worth)[others])
        foretold.append(process.predict(model._project(features)[[place]])[0])
    assert model.left_out() == pytest.approx(spearmanr(foretold, worth).statistic)


def test_what_agrees_a_little_and_misleads_is_not_believed() -> None:
    known = [one for one in shipped() if one.signature == "reg"]
    features = slope_features([parse(one.formula, "reg") for one in known])
    place = np.array([one.place for one in known])
    own = np.arange(len(known)) % 4 == 0
    told, worth = features[own], place[own]
    wrong = place[~own].copy()
    turned = np.random.default_rng(1).permutation(len(wrong))[: int(0.4 * len(wrong))]
    wrong[turned] *= -1
    agreement = spearmanr(Surrogate(told[:0], worth[:0], (features[~own], wrong)).foretell(told), worth)
    assert agreement.statistic > AGREES
    assert believed(told, worth, (features[~own], place[~own]))
    assert not believed(told, worth, (features[~own], wrong))
    assert not believed(told, worth, (features[~own], -place[~own]))
