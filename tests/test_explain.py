"""The page that explains a loss: whole, self-contained, and right about what it says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cse_autoloss.errors import AutoLossError, UnknownNameError
from cse_autoloss.explain import explain
from cse_autoloss.explain.curves import panels, scale_dependence
from cse_autoloss.explain.properties import findings
from cse_autoloss.losses import CATALOGUE, list_losses, load_loss
from cse_autoloss.spaces import CLS_BINARY, SIGNATURES, parse
from cse_autoloss.verdict import Verdict


class _Reader(HTMLParser):
    """Collects tags, sources and words, and notices tags that are left open."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in list_losses()])
def test_curves_are_the_loss_and_its_derivative(entry: object) -> None:
    if entry.whole or "held constant in the gradient" in entry.note:  # type: ignore[attr-defined]
        pytest.skip("its slope is not its derivative, on purpose")
    loss = load_loss(entry.name, reduction="none", alpha=None)  # type: ignore[attr-defined]
    for panel in panels(loss):
        assert [line for line in panel.lines if line.role == "loss"]
        for line in panel.lines:
            assert line.loss.isfinite().all()
            assert line.slope.isfinite().all()
            # The slope's trapezoid of a step is the loss's change over it, but for the steps with a kink.
            area = (line.slope[1:] + line.slope[:-1]) / 2 * line.x.diff()
            error = (line.loss.diff() - area).abs()
            assert error.quantile(0.9) < 1e-3 * (1e-3 + line.loss.max() - line.loss.min())


def test_levels_are_drawn_for_iou_aware_losses_only() -> None:
    for entry in list_losses():
        if entry.whole:  # a batch of one sample is drawn, with its own w
            continue
        loss = load_loss(entry.name, reduction="none", alpha=None)
        drawn = [line.label for line in panels(loss)[0].lines if line.role == "loss"]
        assert (drawn[0] == "w = 0.25") == ("iou-aware" in entry.properties)
    lines = panels(load_loss("varifocal", reduction="none"))[0].lines
    labels = [line.label for line in lines if line.role == "loss"]
    assert labels == ["w = 0.25", "w = 0.5", "w = 0.75", "w = 1 = BCE"]


def test_a_baseline_is_not_drawn_beside_itself() -> None:
    lines = panels(load_loss("bce", reduction="none"))[0].lines
    assert [line.label for line in lines] == ["focal", "this loss = BCE"]


@pytest.mark.parametrize("name", [entry.name for entry in list_losses("reg")])
def test_the_scale_flag(name: str) -> None:
    depends = scale_dependence(load_loss(name, reduction="none")) > 1e-3
    assert depends == ("scale-invariant" not in CATALOGUE[name].properties)


def test_a_page_of_a_published_box_loss(tmp_path: Path) -> None:
    explanation = explain("cse-autoloss-a-reg")
    assert explanation.depends_on_scale
    files = explanation.save(tmp_path / "a" / "page.html")
    assert [file.name for file in files] == [
        "page.html", "page-curves.png", "page-graph.png", "page-scale.png",
    ]  # fmt: skip
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[1:])
    page = files[0].read_text()
    reader = read(page)
    assert "script" not in reader.tags
    assert all(source.startswith("data:image/svg+xml;base64,") for source in reader.sources)
    assert not re.search(r"url\(|@import", page)
    for words in (
        "CSE-Autoloss-A's box loss",
        "Liu et al., ICLR 2021",
        "Accepted.",
        "Depends on scale.",
        "Graph",
    ):
        assert words in reader.words


def test_a_page_of_a_rejected_formula() -> None:
    explanation = explain("Mul(PY,X)")
    reader = read(explanation.html())
    assert explanation.verdict is not None
    assert not explanation.verdict.accepted
    assert "Rejected." in reader.words
    assert "none of the catalogue's losses" in reader.words
    assert any(finding.outcome == "failed" for finding in explanation.findings)


def test_a_page_says_what_a_formula_is() -> None:
    assert "binary cross-entropy times 2" in explain("Mul(2,Softplus(Mul(Sub(NY,PY),X)))").html()


@pytest.mark.parametrize("name", ["l1", "cosface"])
def test_a_page_of_a_loss_without_a_formula(name: str) -> None:
    explanation = explain(name)
    assert explanation.verdict is None
    assert "plain torch module" in read(explanation.html()).words


def test_the_same_page_twice() -> None:
    assert explain("arcface").html() == explain("arcface").html()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'giou'"):
        explain("giouu")
    with pytest.raises(AutoLossError, match=r"ends in \.html"):
        explain("cosface").save(tmp_path / "page.pdf")


@pytest.mark.parametrize(
    ("code", "outcomes"),
    [
        ("ignores-logit", ["failed", "open", "open", "open", "open", "open"]),
        ("not-finite", ["passed", "failed", "open", "open", "open", "open"]),
        ("rises-with-logit", ["passed", "passed", "failed", "open", "open", "open"]),
        ("gradient-does-not-vanish", ["passed", "passed", "open", "open", "failed", "open"]),
        ("something-new", ["open"] * 6 + ["failed"]),
    ],
)
def test_property_by_property(code: str, outcomes: list[str]) -> None:
    verdict = Verdict("verify", False, "reason", where="x = 1", code=code)
    assert [finding.outcome for finding in findings(verdict, CLS_BINARY)] == outcomes


def test_every_code_of_the_verifier_has_its_property() -> None:
    from cse_autoloss.verification import verify

    bad = {
        "cls-binary": [
            "X",
            "PY",
            "Mul(PY,X)",
            "Sin(X)",
            "Neg(Log(Sig(X)))",
            "Log(X)",
            "Sub(X,X)",
            "Mul(X,NY)",
        ],
        "reg": ["U", "Div(I,U)", "Log(Neg(I))", "Sub(1,Div(I,E))", "Sin(I)", "Sub(U,U)", "Sub(E,I)"],
        "cls-multiclass": ["Neg(Dot(Y,X))", "Dot(Y,Log(Softmax(X)))", "Z", "Neg(Dot(X,Log(Softmax(X))))"],
    }
    for branch, formulas in bad.items():
        for formula in formulas:
            verdict = verify(parse(formula, branch))
            if not verdict.accepted:
                found = findings(verdict, SIGNATURES[branch])
                assert len(found) in (5, 6), (formula, verdict.code)
