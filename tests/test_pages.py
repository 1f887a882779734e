"""What pages are made of: elements escape, charts keep their promises, LaTeX becomes MathML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cse_autoloss.explain import parts
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.mathml import to_mathml
from cse_autoloss.losses import GraphLoss, list_losses, load_loss
from cse_autoloss.pages import Curve, Dot, Safe, chart, document, el, framed
from cse_autoloss.pages.charts import ticks, track

HOSTILE = "</title><script>alert(1)</script>\"'&"


def test_texts_and_attributes_are_escaped() -> None:
    shown = el("p", HOSTILE, el("b", HOSTILE), title=HOSTILE, class_="note", hidden=False, open=True)
    assert "<script" not in shown
    assert shown.startswith('<p title="&lt;/title&gt;')
    assert ' class="note" open>' in shown
    assert ElementTree.fromstring(shown.replace(" open>", ">")).attrib["title"] == HOSTILE
    assert el("div", None, False, ["a", Safe("<i>b</i>")], 3) == "<div>a<i>b</i>3</div>"


def test_a_page_fetches_nothing() -> None:
    page = document(HOSTILE, el("p", "words"), script=True)
    assert page.count("<script") == 1
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not any(word in page for word in ("http:", "https:", "url(", "@import"))
    assert "<script" not in document("page")
    assert "&lt;p&gt;" in framed(document("page", el("p", "x")))


@pytest.mark.parametrize(
    ("latex", "inside"),
    [
        (r"\frac{i}{u}", "<mfrac><mrow><mi>i</mi></mrow><mrow><mi>u</mi></mrow></mfrac>"),
        (r"x^{2}", "<msup><mi>x</mi><mrow><mn>2</mn></mrow></msup>"),
        (r"p_t^2", "<msubsup><mi>p</mi><mi>t</mi><mn>2</mn></msubsup>"),
        (r"\sigma(x)", '<mi>σ</mi><mo stretchy="false" form="prefix">(</mo><mi>x</mi>'),
        (r"\operatorname{softmax}", '<mi mathvariant="normal">softmax</mi>'),
        ("<b>&", "<mo>&lt;</mo><mi>b</mi><mo>&gt;</mo><mo>&amp;</mo>"),
    ],
)
def test_latex_becomes_mathml(latex: str, inside: str) -> None:
    found = to_mathml(latex)
    assert inside in found
    ElementTree.fromstring(found)


def test_every_expression_of_the_catalogue_is_set_and_none_of_it_is_lost() -> None:
    for entry in list_losses():
        loss = load_loss(entry.name, reduction="none", alpha=None)
        if isinstance(loss, GraphLoss):
            latex = to_latex(loss.graph)
            shown = ElementTree.fromstring(to_mathml(latex))
            assert "\\" not in "".join(shown.itertext())
            numbers = [one.text for one in shown.iter("mn")]
            assert len(numbers) == len(re.findall(r"\d+", latex))


@pytest.mark.parametrize(
    "broken", ["{", "}", r"\frac{a}", r"\left(", "^", "x^", r"\sqrt", "_^_^", r"\text{a"]
)
def test_broken_latex_is_shown_somehow(broken: str) -> None:
    ElementTree.fromstring(to_mathml(broken))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 7.9), (1e-9, 3e-9), (100.0, 1e6), (5.0, 5.0)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    room = 1e-9 * max(abs(low), abs(high))
    assert all(low - room <= value <= high + room for value in found)


def test_a_chart_places_its_dots_and_leaves_out_what_is_not_finite() -> None:
    nan, inf = float("nan"), float("inf")
    shown = chart(
        [Curve(HOSTILE, [(0, 0), (1, 1), (2, nan)])],
        [Dot(1, 1, title=HOSTILE, href="#a"), Dot(0, 0)],
        x_range=(0, 2),
        y_range=(0, 2),
    )
    tree = ElementTree.fromstring(shown)
    assert [(c.attrib["cx"], c.attrib["cy"]) for c in tree.iter("circle")] == [
        ("50.00%", "50.00%"),
        ("0.00%", "100.00%"),
    ]
    (line,) = tree.iter("polyline")
    assert line.attrib["points"] == "0.0,1000.0 500.0,500.0"
    assert chart([Curve("", [(nan, inf)])]) == ""
    assert "circle" in track(-inf, 1.0, inf, (0.0, 2.0), "c0")


def test_an_axis_of_a_constant_curve_tells_its_ticks_apart() -> None:
    flat = [Curve("slope", [(0.0, -1.0), (0.5, -1.0 - 1e-9), (1.0, -1.0 + 1e-9)])]
    for drawn in (chart(flat), chart(flat, y_range=parts._body(flat))):
        texts = [one.text for one in ElementTree.fromstring(drawn).iter("text") if one.get("x") == "-7"]
        assert len(texts) > 1
        assert len(set(texts)) == len(texts)


def test_generations_are_counted_in_whole_numbers() -> None:
    texts = [
        one.text
        for one in ElementTree.fromstring(chart(dots=[Dot(0, 0), Dot(1, 3)], whole=True)).iter("text")
    ]
    assert "1" in texts
    assert "0.2" not in texts


def test_a_notebook_shows_losses() -> None:
    shown = load_loss("focal")._repr_html_()
    assert shown.startswith("<iframe")
    assert "offsetHeight" in shown
    assert "offsetHeight" not in framed(document("page"))
    assert "math" in shown
    assert "figure" in load_loss("l1")._repr_html_()
