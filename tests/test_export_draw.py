"""Drawings: whole, without overlaps, the same bytes each time."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from export_samples import NAMES, catalogue_graph

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import draw, draw_pair, export_loss
from cse_autoloss.export.layout import Box, Edge, layered
from cse_autoloss.export.picture import picture
from cse_autoloss.graph.loss_graph import MAX_DEPTH
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import BRANCHES, parse


@pytest.mark.parametrize("suffix", [".svg", ".png", ".dot"])
def test_the_same_bytes_each_time(suffix: str, tmp_path: Path) -> None:
    graph = catalogue_graph("cse-autoloss-b-cls")
    first = draw(graph, tmp_path / f"first{suffix}").read_bytes()
    assert first == draw(graph, tmp_path / f"second{suffix}").read_bytes()
    assert len(first) > 1000
    assert first.startswith({".svg": b"<?xml", ".png": b"\x89PNG", ".dot": b"digraph"}[suffix])


def test_a_picture_holds_every_node_once() -> None:
    graph = parse("Add(Mul(Sig(X),Sig(X)),Sub(1,Sub(1,Q)))")
    shown = picture(graph)
    names = [node.name for node in shown.nodes]
    assert sorted(names) == sorted(["X", "Q", "Sig", "Mul", "Sub", "Sub", "Add", "1", "1", "loss"])
    twice = [edge for edge in shown.edges if names[edge.target] == "Mul"]
    assert [names[edge.source] for edge in twice] == ["Sig", "Sig"]
    assert shown.legend == (("x", "logits"), ("q", "IoU at a positive's class, else 0"))
    assert "Neg" in [node.name for node in picture(parse("Neg(Neg(X))"), as_written=True).nodes]


@pytest.mark.parametrize("name", NAMES)
def test_nodes_and_edges_keep_clear_of_each_other(name: str) -> None:
    shown = picture(catalogue_graph(name))
    boxes = [Box(40.0, 26.0, node.ordered) for node in shown.nodes]
    layout = layered(boxes, shown.edges)
    for (xa, ya), (xb, yb) in combinations(layout.centres, 2):
        assert abs(xa - xb) >= 40 or abs(ya - yb) >= 26 + 11.9
    for edge, leave in zip(shown.edges, layout.leaves, strict=True):
        assert layout.centres[edge.source][0] < layout.centres[edge.target][0]
        passed = layout.trunks[edge.source][:leave]
        lefts = [
            layout.columns[edge.source][0],
            *(left for left, _, _ in passed),
            layout.columns[edge.target][0],
        ]
        assert lefts == sorted(set(lefts))
    for left, right, y in (place for trunk in layout.trunks for place in trunk):
        for x, centre in layout.centres:
            assert not left < x < right or abs(centre - y) >= 13 + 11.9
    assert layout.crossings <= 6


def test_layout_untangles_a_crossing() -> None:
    boxes = [Box(10.0, 10.0)] * 7
    edges = [Edge(0, 3, 0), Edge(1, 2, 0), Edge(2, 4, 0), Edge(3, 4, 1), Edge(4, 5, 0), Edge(5, 6, 0)]
    assert layered(boxes, edges).crossings == 0


def test_a_long_line_is_shared_by_all_users() -> None:
    """q is used in each of the layers: one line passes them, and a branch leaves it for each user."""
    levels = 300
    chain = [Edge(level, level + 1, 0) for level in range(1, levels)]
    layout = layered([Box(10.0, 10.0)] * (levels + 1), [*chain, *(Edge(0, e.target, 1) for e in chain)])
    assert len(layout.trunks[0]) == levels - 2
    assert [len(trunk) for trunk in layout.trunks[1:]] == [0] * levels
    assert layout.leaves[levels - 1 :] == tuple(range(levels - 1))
    assert layout.crossings == 0


def test_operands_stand_in_order_where_order_matters() -> None:
    shown = picture(parse("Sub(Log(Q),Exp(X))"))
    layout = layered([Box(30.0, 20.0, node.ordered) for node in shown.nodes], shown.edges)
    height = {node.name: y for node, (_, y) in zip(shown.nodes, layout.centres, strict=True)}
    assert height["Log"] < height["Exp"]


def test_dot_labels_operands() -> None:
    text = draw_text("Div(I,Sub(U,E))")
    assert text.count('[label="a"]') == 2
    assert text.count('[label="b"]') == 2
    assert "cluster" not in text


def draw_text(formula: str) -> str:
    from cse_autoloss.export.dot import to_dot

    return to_dot([("", picture(parse(formula, "reg")))])


def test_pairs_and_large_losses_are_drawn(tmp_path: Path) -> None:
    pair = (catalogue_graph("cse-autoloss-a-cls"), catalogue_graph("cse-autoloss-a-reg"))
    assert draw_pair(*pair, tmp_path / "pair.svg").stat().st_size > 2000
    assert "cluster_1" in export_loss(pair, tmp_path / "pair.dot").read_text()
    for seed in range(3):
        draw(random_graph(BRANCHES["cls-binary"], f"large-{seed}", 6, 7), tmp_path / "large.png")


@pytest.mark.parametrize(
    ("formula", "branch"),
    [
        ("Exp(" * 100 + "X" + ")" * 100, "cls-binary"),
        ("Div(I," * 100 + "U" + ")" * 100, "reg"),
        ("Add(Q," * 100 + "X" + ")" * 100, "cls-binary"),
    ],
    ids=["chain", "fractions", "one variable in each layer"],
)
def test_the_deepest_losses_are_drawn_and_exported(formula: str, branch: str, tmp_path: Path) -> None:
    graph = parse(formula, branch)
    assert graph.depth == MAX_DEPTH
    for suffix in (".svg", ".png", ".dot", ".py", ".json", ".tex"):
        assert export_loss(graph, tmp_path / f"loss{suffix}").stat().st_size > 200


def test_titles_are_taken_or_left_out(tmp_path: Path) -> None:
    plain = draw(catalogue_graph("iou"), tmp_path / "a.svg").read_bytes()
    assert draw(catalogue_graph("iou"), tmp_path / "b.svg", title="IoU loss").read_bytes() != plain


def test_bad_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoLossError, match=r"ends in .svg, .png, .dot, not '.jpg'"):
        draw(catalogue_graph("iou"), tmp_path / "x.jpg")
    with pytest.raises(AutoLossError, match="can not write"):
        draw(catalogue_graph("iou"), tmp_path / "missing" / "x.svg")
