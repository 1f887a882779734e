"""JSON: round trip, and hostile text ends in an AutoLossError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_samples import ENTRIES, catalogue_graph

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import export_loss, from_json, from_json_pair, to_json, to_json_pair
from cse_autoloss.losses import load_loss


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_round_trip(entry: Any, tmp_path: Path) -> None:
    graph = catalogue_graph(entry.name)
    provenance = {"run": "runs/1", "seed": 3, "test_ap": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    data = to_json(graph, entry.alpha, provenance)
    for source in (data, json.dumps(data), json.dumps(data).encode()):
        back = from_json(source)
        assert back.graph == graph
        assert back.graph.formula == entry.formula
        assert (back.alpha, back.provenance) == (entry.alpha, provenance)
    path = export_loss(graph, tmp_path / "loss.json", alpha=entry.alpha, provenance=provenance)
    assert from_json(path).graph == graph
    loaded = load_loss(path)
    assert loaded.formula == entry.formula
    assert loaded.alpha == entry.alpha


def test_pairs_round_trip(tmp_path: Path) -> None:
    cls, reg = catalogue_graph("cse-autoloss-b-cls"), catalogue_graph("giou")
    path = export_loss((cls, reg), tmp_path / "loss.json", alpha=0.25, provenance={"seed": 1})
    first, second = from_json_pair(path)
    assert (first.graph, first.alpha, first.provenance) == (cls, 0.25, {"seed": 1})
    assert (second.graph, second.alpha, second.provenance) == (reg, None, {"seed": 1})
    with pytest.raises(AutoLossError, match="pair of losses"):
        from_json(path)
    with pytest.raises(AutoLossError, match="a classification loss and a box loss"):
        to_json_pair(reg, cls)


GOOD: dict[str, Any] = {
    "format": 1,
    "signature": "reg",
    "formula": "Sub(1,Div(I,U))",
    "alpha": None,
    "provenance": {},
}

BAD: list[tuple[Any, str]] = [
    ({**GOOD, "format": 2}, "format"),
    ({**GOOD, "format": "1"}, "format"),
    ({**GOOD, "format": True}, "format"),
    ({k: v for k, v in GOOD.items() if k != "formula"}, "formula"),
    ({**GOOD, "formulla": ""}, "formulla.*formula"),
    ({**GOOD, "formula": 3}, "formula"),
    ({**GOOD, "formula": ["Sub"]}, "formula"),
    ({**GOOD, "formula": "__import__('os').system('touch pwned')"}, "unknown name"),
    ({**GOOD, "formula": "Sub(1," * 5000}, "characters|deep"),
    ({**GOOD, "signature": "regg"}, "did you mean 'reg'"),
    ({**GOOD, "signature": "cls-binary"}, "unknown name"),
    ({**GOOD, "alpha": 0.5}, "alpha"),
    ({**GOOD, "alpha": "0.5"}, "alpha"),
    ({**GOOD, "provenance": []}, "provenance"),
    ({**GOOD, "provenance": {"x": float("nan")}}, "no JSON number"),
    ({**GOOD, "provenance": {"x": object()}}, "expected a JSON value, got a object"),
    ({**GOOD, "provenance": {1: 2}}, "a key is text"),
    ("[]", "object"),
    ("null", "object"),
    ("", "not JSON"),
    ("{", "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    ('{"format": 1, "format": 1}', "twice"),
    ('{"format": 1, "signature": "reg", "formula": "I", "alpha": NaN}', "no JSON number"),
    ("[" * 100_000, "not JSON|nested"),
    ('{"format": 1, "provenance": ' + '{"a":' * 60 + "1" + "}" * 61, "nested"),
    ('{"format": 1' + "0" * 5000 + "}", "not JSON|format"),
    ('{"x": "' + "y" * 1_000_001 + '"}', "larger"),
    (Path("no/such/file.json"), "No such file"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_json_is_refused(source: Any, message: str) -> None:
    with pytest.raises(AutoLossError, match=message):
        from_json(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cls": None}, "cls: expected an object"),
        ({"extra": 1}, "extra"),
        ({"reg": {"signature": "reg", "formula": "I", "format": 1}}, "format stands outside"),
        ({"reg": {"signature": "cls-binary", "formula": "X"}}, "a classification loss and a box loss"),
        ({"reg": {"signature": "reg", "formula": "X"}}, "reg: "),
    ],
)
def test_bad_pairs_are_refused(change: dict[str, Any], message: str) -> None:
    good = {
        "format": 1,
        "cls": {"signature": "cls-binary", "formula": "X"},
        "reg": {"signature": "reg", "formula": "I"},
    }
    from_json_pair(good)
    with pytest.raises(AutoLossError, match=message):
        from_json_pair({**good, **change})
    with pytest.raises(AutoLossError, match="the key 'reg' is missing"):
        from_json_pair({k: v for k, v in good.items() if k != "reg"})


def test_what_json_can_not_hold_is_not_written() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    for provenance in ({"x": float("inf")}, {"x": {1, 2}}, deep):
        with pytest.raises(AutoLossError):
            to_json(catalogue_graph("iou"), provenance=provenance)
