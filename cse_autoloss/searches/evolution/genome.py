"""The genome: DEAP's typed trees, made and varied so that an ill-shaped candidate never comes up.

DEAP reads Python's global random state. Every function here that uses it must run inside `seeded`, so that the same
seed gives the same trees in every process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from deap import gp

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import GraphBuilder, Kind, LossGraph, Signature, kind_of
from cse_autoloss.graph.loss_graph import operator_of
from cse_autoloss.operators import CONSTANTS, OPERATORS
from cse_autoloss.spaces.random_expressions import searched_operators
from cse_autoloss.spaces.standing import Standing, standing_of


class PerClass:
    """DEAP's type of a per-class value."""


class PerSample:
    """DEAP's type of a per-sample value."""


_TYPE = {Kind.PER_CLASS: PerClass, Kind.PER_SAMPLE: PerSample}


class Tree(gp.PrimitiveTree):
    """A genome: DEAP's list of primitives and terminals in prefix order."""


def _placeholder(*args: object) -> None:
    """DEAP wants a function for each primitive; trees are run as a `LossGraph`, so it is never called."""


@dataclass(frozen=True)
class PrimitiveSet:
    """DEAP's typed primitive set of a signature, derived from the operator table.

    Attributes:
        signature: whose formulas they are.
        pset: DEAP's set; an operator has one primitive for each combination of argument kinds that it admits.
        primitives: by (symbol, kinds of the arguments), of all operators of the signature: parents may hold others.
        terminals: by symbol.
        operators: the names that new parts are made of.
    """

    signature: Signature
    pset: Any
    primitives: dict[tuple[str, tuple[Kind, ...]], Any] = field(default_factory=dict)
    terminals: dict[str, Any] = field(default_factory=dict)
    operators: tuple[str, ...] = ()

    @classmethod
    def of(cls, signature: Signature, operators: Sequence[str] | None = None) -> PrimitiveSet:
        """The set of a signature; errors and `operators` as for `searched_operators`."""
        pset = gp.PrimitiveSetTyped(signature.name, [], _TYPE[Kind(signature.result)])
        made = cls(signature, pset, operators=searched_operators(signature, operators))
        has_classes = any(v.kind is Kind.PER_CLASS for v in signature.variables.values())
        kinds = (Kind.PER_CLASS, Kind.PER_SAMPLE) if has_classes else (Kind.PER_SAMPLE,)
        for name in signature.operators:
            operator = OPERATORS[name]
            for combination in product(kinds, repeat=operator.arity):
                result = kind_of(operator, combination)
                if result is None:
                    continue
                primitive = gp.Primitive(name, [_TYPE[kind] for kind in combination], _TYPE[result])
                if name in made.operators:
                    pset._add(primitive)
                    pset.prims_count += 1
                made.primitives[name, combination] = primitive
        for name in signature.terminals:
            terminal = gp.Terminal(name, True, _TYPE[signature.kind_of(name)])
            pset._add(terminal)
            pset.terms_count += 1
            made.terminals[name] = terminal
        return made

    @property
    def fades(self) -> bool:
        """Whether losses read what stands still, as a training's progress, and parts of them can change with it."""
        made_of = {"Add", "Sub", "Mul", "Exp", "Log"} <= set(self.operators)
        return made_of and bool(standing_of(self.signature))

    def to_tree(self, graph: LossGraph) -> Tree:
        """DEAP's tree of a graph; shared subexpressions are written out."""
        nodes: list[Any] = []
        stack = [graph.root]
        while stack:
            node = graph.nodes[stack.pop()]
            if node.args:
                nodes.append(self.primitives[node.symbol, tuple(graph.kinds[a] for a in node.args)])
            else:
                nodes.append(self.terminals[node.symbol])
            stack.extend(reversed(node.args))
        return Tree(nodes)

    def to_graph(self, tree: Tree) -> LossGraph:
        """The graph of a tree: equal subtrees become one node."""
        return self.graph_of([node.name for node in tree])

    def graph_of(self, names: Sequence[str]) -> LossGraph:
        """The graph of symbols in prefix order; FormulaError where they are none of the signature's."""
        builder = GraphBuilder(self.signature)
        stack: list[int] = []
        for name in reversed(names):
            operator = operator_of(name)
            args = tuple(stack.pop() for _ in range(operator.arity if operator else 0))
            stack.append(builder.add(name, *args))
        return builder.finish(stack[0])


@contextmanager
def seeded(seed: int | str) -> Iterator[None]:
    """Seed Python's global random state, which DEAP reads, and give the old state back afterwards."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@dataclass(frozen=True)
class Limits:
    """Bounds on a genome: depth of the tree and number of its nodes."""

    max_depth: int = 10
    max_nodes: int = 48

    def holds(self, tree: Tree) -> bool:
        """Whether the tree keeps within the bounds."""
        return len(tree) <= self.max_nodes and tree.height <= self.max_depth


def random_tree(primitives: PrimitiveSet, low: int = 2, high: int = 5) -> Tree:
    """A random typed tree, half full and half grown, of a height between `low` and `high`. Use inside `seeded`."""
    while True:
        try:
            return Tree(gp.genHalfAndHalf(primitives.pset, low, high))
        except IndexError:
            # DEAP's grower has met a type with no terminal or no primitive at that height; draw again.
            continue


def crossover(one: Tree, two: Tree) -> tuple[Tree, Tree]:
    """Swap subtrees of the same kind.

    DEAP's own picks the kind out of a set, whose order changes between processes; here the kinds are sorted.
    """
    places_one, places_two = _places(one), _places(two)
    shared = sorted(set(places_one) & set(places_two))
    if not shared:
        return one, two
    kind = random.choice(shared)
    slice_one = one.searchSubtree(random.choice(places_one[kind]))
    slice_two = two.searchSubtree(random.choice(places_two[kind]))
    child_one, child_two = Tree(one), Tree(two)
    child_one[slice_one], child_two[slice_two] = two[slice_two], one[slice_one]
    return child_one, child_two


def _places(tree: Tree) -> dict[str, list[int]]:
    """Indices of the nodes of each kind; the root counts only where the tree is a lone terminal."""
    places: dict[str, list[int]] = {}
    for index, node in enumerate(tree):
        if index or len(tree) == 1:
            places.setdefault(node.ret.__name__, []).append(index)
    return places


def fade(one: Tree, two: Tree, primitives: PrimitiveSet) -> Tree:
    """A part a of the first that changes while a network learns, for signatures that read the progress T.

    Where they read more, as a class's frequency F, it is that by half: then a part is another one for rare classes.

    Into another or from it: (1 − T)·a + T·b, where the other is the second parent's part of that kind, a constant or an
    input, or a and b are the whole losses, so that a right loss ends as another right one. Or from 1 into a power: a^T,
    a^2T or a^3T.
    """
    by, unit = _chosen(standing_of(primitives.signature)).name, primitives.terminals["1"]
    kind = primitives.signature.kind_of(by)
    progress = [primitives.terminals[by]]

    def joined(name: str, *args: list[Any]) -> list[Any]:
        kinds = tuple(Kind.PER_CLASS if arg[0].ret is PerClass else Kind.PER_SAMPLE for arg in args)
        return [primitives.primitives[name, kinds], *(node for arg in args for node in arg)]

    if kind is not primitives.signature.result and kind is Kind.PER_CLASS:
        # Of a softmax head the sample's own class counts.
        kind, progress = Kind.PER_SAMPLE, joined("Dot", [primitives.terminals["Y"]], progress)

    def into(a: list[Any], b: list[Any]) -> list[Any]:
        a, b = random.sample((a, b), 2)
        return joined("Add", joined("Mul", joined("Sub", [unit], progress), a), joined("Mul", progress, b))

    if random.random() < 0.2:
        return Tree(into(list(one), list(two)))
    own, other = (_places(tree).get(_TYPE[kind].__name__, []) for tree in (one, two))
    if not own or not other:
        return Tree(into(list(one), list(two)))
    child = Tree(one)
    span = child.searchSubtree(random.choice(own))
    part = list(child[span])
    draw = random.random()
    if draw < 0.4:
        power = [primitives.terminals[random.choice(CONSTANTS)]]
        part = joined("Exp", joined("Mul", joined("Mul", power, progress), joined("Log", part)))
    elif draw < 0.7:
        names = [name for name in primitives.terminals if name != by]
        part = into(part, [primitives.terminals[random.choice(names)]])
    else:
        part = into(part, list(two[two.searchSubtree(random.choice(other))]))
    child[span] = part
    return child


def _chosen(standing: Sequence[Standing]) -> Standing:
    """The first, or, where there are others, by half one of them."""
    first, *others = standing
    return first if not others or random.random() < 0.5 else random.choice(others)


def mutate_subtree(tree: Tree, primitives: PrimitiveSet) -> Tree:
    """Put a small random tree in the place of a subtree, or wrap a subtree in a new operator, or hoist one."""
    child = Tree(tree)
    draw = random.random()
    if draw < 0.6:
        return _retry(lambda: gp.mutUniform(Tree(child), _grow, primitives.pset)[0])
    if draw < 0.8:
        return _retry(lambda: gp.mutInsert(Tree(child), primitives.pset)[0])
    return gp.mutShrink(child)[0]


def mutate_point(tree: Tree, primitives: PrimitiveSet) -> Tree:
    """Replace one symbol by another of the same arity and kinds."""
    return gp.mutNodeReplacement(Tree(tree), primitives.pset)[0]


def mutate_constant(tree: Tree, primitives: PrimitiveSet) -> Tree:
    """Change one constant, or, where there is none or by a coin's toss, scale a subtree by a constant."""
    child = Tree(tree)
    places = [index for index, node in enumerate(child) if node.name in CONSTANTS]
    if places and random.random() < 0.6:
        index = random.choice(places)
        others = [name for name in CONSTANTS if name != child[index].name]
        child[index] = primitives.terminals[random.choice(others)]
        return child
    scaling = [name for name in ("Mul", "Div", "Add") if name in primitives.operators]
    if not scaling:
        return child
    span = child.searchSubtree(random.randrange(len(child)))
    inner = child[span]
    kind = Kind.PER_CLASS if inner[0].ret is PerClass else Kind.PER_SAMPLE
    scale = primitives.terminals[random.choice(CONSTANTS[1:])]
    name = random.choice(scaling)
    child[span] = [primitives.primitives[name, (kind, Kind.PER_SAMPLE)], *inner, scale]
    return child


def _grow(pset: Any, type_: Any) -> list[Any]:
    return gp.genGrow(pset, 0, 3, type_)


def _retry(make: Any, tries: int = 20) -> Tree:
    """DEAP raises IndexError where it meets a dead end among the types: draw again."""
    for _ in range(tries - 1):
        try:
            return make()
        except IndexError:
            continue
    return make()


def random_graph(signature: Signature, seed: int | str, low: int = 2, high: int = 5) -> LossGraph:
    """One random well-shaped loss of the signature; the same seed gives the same loss everywhere."""
    primitives = PrimitiveSet.of(signature)
    with seeded(seed):
        while True:
            try:
                return primitives.to_graph(random_tree(primitives, low, high))
            except FormulaError:
                continue
