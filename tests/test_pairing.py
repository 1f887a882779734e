"""The pairs of the search's best losses: all once, the best third again."""

from typing import Any

import pytest

from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.schedule import Batch
from cse_autoloss.discovery.pairing import Pairing, believed, choose
from cse_autoloss.tasks.protocol import Metric


def chosen(aps: dict[str, dict[int, float | None]], seeds: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """(name, mean) of what came out, and (name, seed) of what was trained."""
    pairs = tuple(LossSet.of({"cls": name, "reg": "giou"}) for name in aps)
    pairing = Pairing(pairs, seeds, 15.0, None, "task", Metric("ap"))
    asked: list[tuple[str, int]] = []

    def train(wanted: Any) -> Any:
        asked.extend((t.losses["cls"], t.seed) for t in wanted)
        assert {(t.purpose, t.split, t.epochs) for t in wanted} <= {("combine", "val", 15.0)}
        yield Batch([])
        scores = {}
        for t in wanted:
            ap = aps[t.losses["cls"]][t.seed]
            value = {"status": "ok", "metrics": {"ap": ap}}
            if ap is not None:
                scores[t.key] = t.score("ok", value, "", 0.0)
        return scores

    process = choose(pairing, train)
    try:
        next(process)
        while True:
            process.send({})
    except StopIteration as stop:
        return [(pair["cls"], ap) for pair, ap in stop.value], asked


def test_the_best_third_is_trained_again_and_stands_first() -> None:
    first = {f"loss {i}": {7: 0.5 + i / 100} for i in range(6)}
    aps: dict[str, dict[int, float | None]] = {name: {**ap, 8: 0.3} for name, ap in first.items()}
    aps["loss 4"] = {7: 0.54, 8: 0.60}
    found, asked = chosen(aps, (7, 8))
    assert asked == [(f"loss {i}", 7) for i in range(6)] + [("loss 5", 8), ("loss 4", 8)]
    assert [name for name, _ in found] == ["loss 4", "loss 5", "loss 3", "loss 2", "loss 1", "loss 0"]
    assert found[0][1] == pytest.approx(0.57)


def test_one_seed_is_one_round() -> None:
    found, asked = chosen({"a": {1: 0.2}, "b": {1: 0.4}}, (1,))
    assert found == [("b", 0.4), ("a", 0.2)]
    assert len(asked) == 2


def test_what_the_deadline_cut_off_is_left_out_of_the_mean() -> None:
    found, _ = chosen({"a": {1: 0.5, 2: None}, "b": {1: None, 2: 0.4}}, (1, 2))
    assert found == [("a", 0.5), ("b", 0.0)]


def pairing_of(expected: dict[tuple[str, str], float] | None = None) -> Pairing:
    pairs = tuple(LossSet.of({"cls": cls, "reg": reg}) for cls in "abc" for reg in "xyz")
    return Pairing(pairs, (1,), 15.0, None, "task", Metric("ap"), expected or {})


def test_a_pair_is_believed_by_what_its_losses_are_worth_elsewhere() -> None:
    # `a` is good with all, `c` with `z` alone, by luck.
    means = [0.60, 0.60, 0.59, 0.50, 0.50, 0.50, 0.50, 0.50, 0.61]
    belief = believed(pairing_of(), range(9), means, [1] * 9)
    assert max(range(9), key=belief.__getitem__) in (0, 1, 2)
    surer = believed(pairing_of(), range(9), means, [1] * 8 + [20])
    assert surer[8] > belief[8]


def test_what_was_expected_counts_where_scores_are_level() -> None:
    belief = believed(pairing_of({("cls", "b"): 0.02}), range(9), [0.5] * 9, [1] * 9)
    assert set(sorted(range(9), key=lambda place: -belief[place])[:3]) == {3, 4, 5}


def test_a_scale_and_a_shift_change_no_order() -> None:
    means = [0.60, 0.58, 0.59, 0.50, 0.57, 0.50, 0.52, 0.50, 0.61]
    one = believed(pairing_of(), range(9), means, [1] * 9)
    other = believed(pairing_of(), range(9), [100 * value - 7 for value in means], [1] * 9)
    assert [100 * value - 7 for value in one] == pytest.approx(other)
