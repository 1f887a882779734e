"""The batched funnel gives the verdicts of the one-candidate path, to the letter, on far fewer
evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cse_autoloss.graph import GraphBuilder, Kind, LossGraph, Signature, compile_graph, stabilize
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.operators import ALL_OPERATORS
from cse_autoloss.spaces import SIGNATURES, parse
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.random_expressions import (
    Forest,
    RandomShape,
    random_forest,
    searched_operators,
    symbols,
)
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification import fingerprint, population, verify, verify_forest, verify_population
from cse_autoloss.verification.grids import probe_grid
from cse_autoloss.verification.node_table import (
    NodeTable,
    StableForest,
    heights,
    make_table,
    stable_forest,
    table_of_graph,
)
from cse_autoloss.verification.table_evaluate import TableEvaluator, keep

DETECTION = ("cls-binary", "cls-multiclass", "reg")

_ENTRIES = (*BINARY_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES)
CATALOGUE = {
    name: [parse(e.formula, name) for e in _ENTRIES if e.signature.name == name and e.formula]
    for name in DETECTION
}


def _random(branch: str, count: int, seed: int = 0) -> Forest:
    return random_forest(SIGNATURES[branch], count, np.random.default_rng(seed))


def _letter(verdict: Verdict) -> tuple[object, ...]:
    """All of a verdict but the time; NaN figures compare equal."""
    plain = replace(verdict, seconds=0.0)
    return (str(plain), plain.accepted, plain.code, plain.where, repr(plain.figure))


@pytest.mark.parametrize("branch", DETECTION)
def test_batch_and_single_agree_to_the_letter_on_random_candidates(branch: str) -> None:
    torch.set_num_threads(1)
    forest = _random(branch, 4_000)
    report = verify_forest(forest)
    known: dict[str, Verdict] = {}  # of expressions that come up again and again
    for row, verdict in enumerate(report.verdicts()):
        graph = forest.graph(row)
        if graph.formula not in known:
            known[graph.formula] = verify(graph)
        alone = known[graph.formula]
        assert _letter(alone) == _letter(verdict), graph.formula
        assert alone.accepted == bool(report.accepted[row])


def _children(branch: str, count: int) -> list[LossGraph]:
    """Catalogue losses with a random expression in the place of one node: many of them are right."""
    rng = np.random.default_rng(1)
    parts = _random(branch, 400, seed=2)
    children = list(CATALOGUE[branch])
    while len(children) < count:
        parent = CATALOGUE[branch][int(rng.integers(len(CATALOGUE[branch])))]
        place = int(rng.integers(len(parent.nodes)))
        part = parts.graph(int(rng.integers(len(parts))))
        if parent.kinds[place] is not part.kinds[-1]:
            continue
        builder = GraphBuilder(parent.signature)
        grafted: list[int] = []
        for symbol, args in part.nodes:
            grafted.append(builder.add(symbol, *(grafted[a] for a in args)))
        made: list[int] = []
        for index, (symbol, args) in enumerate(parent.nodes):
            made.append(grafted[-1] if index == place else builder.add(symbol, *(made[a] for a in args)))
        children.append(builder.finish(made[-1]))
    return children


@pytest.mark.parametrize("branch", DETECTION)
def test_batch_and_single_agree_on_children_of_the_catalogue(branch: str) -> None:
    torch.set_num_threads(1)
    graphs = _children(branch, 300)
    together = verify_population(graphs)
    assert sum(v.accepted for v in together) >= len(CATALOGUE[branch])
    for graph, verdict in zip(graphs, together, strict=True):
        assert _letter(verify(graph)) == _letter(verdict), graph.formula


@pytest.mark.parametrize("branch", DETECTION)
def test_batch_and_single_agree_on_losses_with_needles_and_stairs(branch: str) -> None:
    """Every accepted random loss, and the catalogue's, with a steep stair added: most are not resolved."""
    torch.set_num_threads(1)
    walk = {
        "cls-binary": "Mul(Sub(NY,PY),X)",
        "cls-multiclass": "Dot(X,Sub(Div(1,2),Y))",
        "reg": "Sub(1,Div(I,U))",
    }
    forest = _random(branch, 5_000, seed=4)
    right = [forest.graph(int(row)) for row in np.flatnonzero(verify_forest(forest).accepted)[:20]]
    graphs = [
        parse(f"Add({graph.formula},Sig(Mul(Sub({walk[branch]},{shift}),{steep})))", branch)
        for graph in (*right, *CATALOGUE[branch])
        if graph.kinds[-1] is Kind.PER_SAMPLE or branch == "cls-binary"
        for steep in ("3", "Exp(3)", "Exp(Mul(2,3))", "Exp(Exp(3))")
        for shift in ("Sub(1,1)", "Div(1,2)", "Div(1,3)")
    ]
    together = verify_population(graphs)
    assert {v.code for v in together} > {"unresolved"}
    for graph, verdict in zip(graphs, together, strict=True):
        assert _letter(verify(graph)) == _letter(verdict), graph.formula


def test_branches_may_be_mixed_and_keep_their_order() -> None:
    graphs = [graph for triple in zip(*CATALOGUE.values(), strict=False) for graph in triple]
    verdicts = verify_population([*graphs, parse("1", "reg")])
    assert [v.accepted for v in verdicts] == [True] * len(graphs) + [False]
    assert verify_population([]) == []


def test_blocks_do_not_change_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = _children("cls-binary", 60)
    whole = [_letter(v) for v in verify_population(graphs)]
    monkeypatch.setattr(population, "BLOCK_NODES", 50)
    monkeypatch.setattr(population, "FINE_ROOTS", 2)
    assert [_letter(v) for v in verify_population(graphs)] == whole


def test_fingerprints_come_out_of_the_batch() -> None:
    for branch in DETECTION:
        graphs = _children(branch, 60)
        report = verify_forest(Forest.of(graphs), marks=True)
        assert set(report.marks) == set(np.flatnonzero(report.accepted).tolist())
        for row, mark in report.marks.items():
            assert mark == fingerprint(graphs[row])


def test_duplicates_share_marks_and_verdicts() -> None:
    one, other = parse("Softplus(Mul(Sub(NY,PY),X))"), parse("Softplus(Mul(X,Sub(NY,PY)))")
    report = verify_forest(Forest.of([one, other, one]), marks=True)
    assert set(report.marks) == {0, 1, 2}
    assert len(set(report.marks.values())) == 1


def _graph_of(stable: StableForest, root: int, signature: Signature) -> LossGraph:
    builder = GraphBuilder(signature, stable=True)

    def build(node: int) -> int:
        args = [a for a in (int(stable.left[node]), int(stable.right[node])) if a >= 0]
        return builder.add(symbols(signature)[stable.symbol[node]], *(build(a) for a in args))

    return builder.finish(build(root))


@pytest.mark.parametrize("branch", DETECTION)
def test_batched_rewrites_are_those_of_the_graph(branch: str) -> None:
    rich = [
        "Log(Sub(1,Sig(X)))", "Log(Add(Exp(X),1))", "Neg(Neg(Neg(X)))", "Sub(1,Sig(Neg(X)))", "Log(Add(1,Neg(Sig(X))))",
        "Add(Neg(Sig(Neg(X))),1)", "Sub(1,Serf(X))", "Add(1,Neg(Neg(Neg(Serf(X)))))", "Log(Add(1,Exp(Neg(Neg(X)))))",
        "Log(Softmax(Neg(Neg(X))))", "Sub(1,Sub(1,Sig(X)))", "Add(1,1)", "Sub(1,1)", "Neg(Sub(1,Sig(X)))",
    ]  # fmt: skip
    graphs = _children(branch, 200)
    if branch == "cls-binary":
        graphs += [parse(formula) for formula in rich]
    if branch == "reg":
        graphs += [parse(f.replace("X", "I"), "reg") for f in rich if "Soft" not in f and "Serf" not in f]
    forest = _random(branch, 2000, seed=3)
    for batch, originals in ((Forest.of(graphs), graphs), (forest, [forest.graph(i) for i in range(2000)])):
        stable = stable_forest(batch)
        for root, graph in zip(stable.root, originals, strict=True):
            assert _graph_of(stable, int(root), graph.signature).formula == stabilize(graph).formula


@pytest.mark.parametrize("branch", DETECTION)
def test_table_holds_each_expression_once(branch: str) -> None:
    forest = _random(branch, 3000)
    table = make_table(forest)
    keys = list(zip(table.symbol.tolist(), table.left.tolist(), table.right.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert len(table) < 0.5 * len(forest.symbol)
    for group in table.groups:
        assert (table.left[group.start : group.stop] < group.start).all()
        assert (table.right[group.start : group.stop] < group.start).all()
        assert len({int(c) for c in table.symbol[group.start : group.stop]}) == 1
    covered = sum(g.stop - g.start for g in table.groups)
    assert covered == len(table) - table.groups[0].start
    part = keep(table, table.root[:5])
    assert len(part) <= sum(len(forest.graph(row)) for row in range(5)) * 2
    assert [part.symbol[r] for r in part.root] == [table.symbol[r] for r in table.root[:5]]


def _single_table(symbol: str, branch: str) -> NodeTable:
    names = {"cls-binary": "X", "cls-multiclass": "X", "reg": "I"}
    operator = ALL_OPERATORS[symbol]
    builder = GraphBuilder(SIGNATURES[branch], stable=True)
    leaf = builder.add(names[branch])
    second = builder.add("Y" if branch == "cls-multiclass" else "U" if branch == "reg" else "Q")
    args = (leaf, builder.add("Add", leaf, second))[: operator.arity]
    root = builder.add(symbol, *args)
    if branch == "cls-multiclass" and operator.shape != "sum":
        root = builder.add("Dot", root, leaf)
    return table_of_graph(builder.finish(root))


@pytest.mark.parametrize("symbol", list(ALL_OPERATORS))
@pytest.mark.parametrize("branch", ["cls-multiclass", "reg"])
def test_batched_operators_agree_with_the_operator_table(symbol: str, branch: str) -> None:
    signature = SIGNATURES[branch]
    if branch == "reg" and symbol not in (*signature.operators, "LogSig"):
        pytest.skip("not an operator of the box branch")
    grid = probe_grid(signature, Look(True), torch.float64)
    table = _single_table(symbol, branch)
    value, slope = TableEvaluator(grid).run(table)
    graph = _rebuild(table, signature)
    wanted, wanted_slope = _by_forward_mode(graph, grid)
    torch.testing.assert_close(value[0], wanted.reshape(grid.shape), equal_nan=True)
    torch.testing.assert_close(slope[0], wanted_slope.reshape(grid.shape), equal_nan=True)


def _by_forward_mode(graph: LossGraph, grid: ProbeGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and slope by torch's own derivatives."""
    run = compile_graph(graph, stable=False)
    moving = list(grid.tangents)

    def of(*values: torch.Tensor) -> torch.Tensor:
        return run({**grid.inputs, **dict(zip(moving, values, strict=True))})

    return torch.func.jvp(of, tuple(grid.inputs[n] for n in moving), tuple(grid.tangents[n] for n in moving))


def _rebuild(table: NodeTable, signature: Signature) -> LossGraph:
    builder = GraphBuilder(signature, stable=True)
    made: list[int] = []
    for symbol, left, right in zip(table.symbol, table.left, table.right, strict=True):
        made.append(builder.add(symbols(signature)[symbol], *(made[a] for a in (left, right) if a >= 0)))
    return builder.finish(made[int(table.root[0])])


@pytest.mark.parametrize("branch", DETECTION)
def test_random_expressions_are_well_shaped_and_repeatable(branch: str) -> None:
    shape = RandomShape(max_depth=4)
    forest = random_forest(SIGNATURES[branch], 3_000, np.random.default_rng(5), shape)
    again = random_forest(SIGNATURES[branch], 3_000, np.random.default_rng(5), shape)
    assert (forest.symbol == again.symbol).all()
    assert (forest.left == again.left).all()
    assert heights(forest)[forest.root].max() <= 4
    wanted = SIGNATURES[branch].result
    for row in range(3_000):
        graph = forest.graph(row)  # raises where a shape is wrong
        assert graph.kinds[-1] is wanted or (wanted is Kind.PER_CLASS and graph.kinds[-1] is Kind.PER_SAMPLE)
    sizes = len(forest.symbol) / len(forest)
    assert 4 < sizes < 9
    used = {symbols(SIGNATURES[branch])[code] for code in forest.symbol}
    assert used == {*searched_operators(SIGNATURES[branch]), *SIGNATURES[branch].terminals}


def test_forest_of_graphs_gives_them_back() -> None:
    for graphs in CATALOGUE.values():
        forest = Forest.of(graphs)
        assert [forest.graph(row).formula for row in range(len(graphs))] == [g.formula for g in graphs]


@pytest.mark.parametrize("branch", DETECTION)
def test_a_root_that_stands_still_has_its_value_and_no_slope(branch: str) -> None:
    """And not what happened to lie in memory, which is filled with NaN here."""
    graphs = [parse(text, branch) for text in ("Sin(Exp(1))", "2", SIGNATURES[branch].default)]
    grid = probe_grid(SIGNATURES[branch], Look(True, branch == "cls-multiclass"), torch.float64)
    torch.use_deterministic_algorithms(True)
    try:
        value, slope = TableEvaluator(grid).run(make_table(Forest.of(graphs)))
    finally:
        torch.use_deterministic_algorithms(False)
    classes = value[1, 0, 0] / 2
    assert torch.allclose(value[0], classes * torch.tensor(np.sin(np.e)))
    assert (value[1] == value[1, 0, 0]).all()
    assert not slope[:2].any()
    assert slope[2].isfinite().all()
    assert slope[2].any()
