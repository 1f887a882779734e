"""What a run writes into best/ is what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import cse_autoloss
from cse_autoloss.bench.session import Session
from cse_autoloss.report.write import write_best
from cse_autoloss.spaces import CLS_BINARY, REG

SLOTS = {"cls": CLS_BINARY, "reg": REG}
SESSION = cast(Session, SimpleNamespace(slots=tuple(SLOTS), task=SimpleNamespace(slots=SLOTS)))


@pytest.mark.parametrize(
    ("cls", "alpha", "expected"),
    [("cse-autoloss-b-cls", None, 0.25), ("cse-autoloss-b-cls", 0.5, 0.5), ("bce", None, None)],
)
def test_a_catalogue_loss_keeps_the_weighting_that_its_name_brings(
    cls: str, alpha: float | None, expected: float | None, tmp_path: Path
) -> None:
    best: dict[str, Any] = {"losses": {"cls": cls, "reg": "Sub(1,Div(I,U))"}, "alpha": alpha}
    write_best(tmp_path, best, SESSION, {})
    assert json.loads((tmp_path / "loss.json").read_text())["cls"]["alpha"] == expected


@pytest.mark.parametrize("name", ["", " ", "proved"])
def test_what_a_file_tells_of_itself_may_have_any_name(name: str, tmp_path: Path) -> None:
    loss = {
        "format": 1,
        "cls": {
            "signature": "cls-binary",
            "formula": "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))",
        },
        "reg": {"signature": "reg", "formula": "Sub(1,Div(I,U))"},
        "provenance": {name: "mine"},
    }
    (tmp_path / "loss.json").write_text(json.dumps(loss))
    cse_autoloss.export_loss(tmp_path / "loss.json", tmp_path / "loss.py")
    assert "mine" in (tmp_path / "loss.py").read_text()


@pytest.mark.parametrize("given", [str, Path])
def test_an_export_of_a_file_with_one_loss_keeps_where_it_comes_from(given: Any, tmp_path: Path) -> None:
    loss = {"format": 1, "signature": "reg", "formula": "Sub(1,Div(I,U))", "provenance": {"seed": 4711}}
    (tmp_path / "loss.json").write_text(json.dumps(loss))
    for suffix in (".py", ".tex"):
        text = cse_autoloss.export_loss(given(tmp_path / "loss.json"), tmp_path / f"out{suffix}").read_text()
        assert "4711" in text
        assert "proved" in text
    again = cse_autoloss.export_loss(given(tmp_path / "loss.json"), tmp_path / "again.json")
    told = json.loads(again.read_text())["provenance"]
    assert told["seed"] == 4711
    assert "certificate" in told
