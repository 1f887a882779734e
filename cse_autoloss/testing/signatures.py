"""Tests for signatures: one of your own gets them in three lines of a pytest file.

class TestMine(SignatureConformance):
    signature = MINE
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cse_autoloss.errors import FormulaError
from cse_autoloss.explain import explain
from cse_autoloss.export import export_loss, from_json, to_json, to_latex
from cse_autoloss.export.domain import sample_domain
from cse_autoloss.graph import LossGraph, Signature, compile_graph
from cse_autoloss.losses import GraphLoss, find_alike, load_loss
from cse_autoloss.searches.evolution import random_graph
from cse_autoloss.searches.evolution.genome import PrimitiveSet, crossover, random_tree, seeded
from cse_autoloss.spaces import form_of, parse
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.verification import fingerprint, shortened, verify, verify_forest, verify_population


class SignatureConformance:
    """What holds of every signature; a subclass says which.

    Attributes:
        signature: the one that is tested.
        right: further formulas that must be accepted.
        wrong: formulas that must be rejected, with the codes of their verdicts.
        drafts: how many random losses are looked at.
    """

    signature: ClassVar[Signature]
    right: ClassVar[tuple[str, ...]] = ()
    wrong: ClassVar[tuple[tuple[str, str], ...]] = ()
    drafts: ClassVar[int] = 20

    def default(self) -> LossGraph:
        """The default loss."""
        return parse(self.signature.default, self.signature)

    def arguments(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """What a loss is called with: a batch from the signature's domain."""
        chance = torch.Generator().manual_seed(1)

        def uniform(*shape: int, low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=chance)

        found = form_of(self.signature).batch(uniform).args
        return tuple(one.to(dtype) if one.is_floating_point() else one for one in found)

    def graphs(self) -> list[LossGraph]:
        """The default and random drafts."""
        return [
            self.default(),
            *(random_graph(self.signature, f"draft-{n}", 1, 4) for n in range(self.drafts)),
        ]

    # -- what it states

    def test_it_is_a_value(self) -> None:
        signature = self.signature
        assert copy.deepcopy(signature) == signature
        assert hash(copy.deepcopy(signature)) == hash(signature)
        assert signature.moving <= set(signature.variables), "what moves must be an input"
        if signature.walks:
            again = Signature.from_dict(json.loads(json.dumps(signature.to_dict())))
            assert again == signature, "its JSON form is another signature"

    def test_inputs_are_in_their_ranges_on_the_domain(self) -> None:
        sample = sample_domain(self.signature, 200)
        assert set(sample) == set(self.signature.variables)
        for one in self.signature.inputs:
            value = sample[one.name]
            assert bool(value.isfinite().all()), one.name
            assert float(value.min()) >= one.low, f"{one.name} is below its range"
            assert float(value.max()) <= one.high, f"{one.name} is above its range"

    # -- verification

    def test_the_default_is_right_and_its_negative_is_wrong(self) -> None:
        default = self.default()
        for text in (self.signature.default, *self.right):
            verdict = verify(parse(text, self.signature))
            assert verdict.accepted, f"{text}: {verdict}"
        verdict = verify(parse(f"Neg({default.formula})", self.signature))
        assert not verdict.accepted, "the negative of the default loss is accepted"
        assert verdict.reason
        assert verdict.code

    def test_wrong_losses_are_rejected_for_their_right_reason(self) -> None:
        for text, code in (("1", ""), *self.wrong):
            verdict = verify(parse(text, self.signature))
            assert not verdict.accepted, f"{text} is accepted"
            assert verdict.code == code or not code, f"{text}: {verdict.code}: {verdict}"
            assert len(verdict.reason.split()) > 3, f"{verdict.reason!r} is not for people"

    def test_every_rejection_belongs_to_a_property(self) -> None:
        listed = {code for _, codes in form_of(self.signature).properties for code in codes}
        forest = random_forest(self.signature, 500, np.random.default_rng(2))
        found = {verdict.code for verdict in verify_forest(forest).verdicts()} - {""}
        assert found <= listed | {"unresolved"}

    def test_a_candidate_alone_gets_the_verdict_that_it_gets_in_a_crowd(self) -> None:
        graphs = self.graphs()
        for graph, verdict in zip(graphs, verify_population(graphs), strict=True):
            alone = verify(graph)
            assert (alone.code, alone.reason, alone.figure) == (verdict.code, verdict.reason, verdict.figure)

    def test_fingerprints_tell_losses_apart_by_their_gradients(self) -> None:
        default = self.default()
        mark = fingerprint(default)
        assert fingerprint(parse(f"Add({default.formula},2)", self.signature)) == mark
        assert fingerprint(parse(f"Mul({default.formula},2)", self.signature)) != mark

    def test_what_does_nothing_is_left_out(self) -> None:
        padded = parse(f"Add({self.signature.default},Sub(1,1))", self.signature)
        short = shortened(padded)
        assert short.tree_size < padded.tree_size
        assert fingerprint(short) == fingerprint(padded)

    # -- calls

    def test_gradients_go_to_what_moves_alone(self) -> None:
        form, arguments = form_of(self.signature), self.arguments()
        moving = form.batch(lambda *shape, low, high: torch.full(shape, low)).moving
        given = [one.clone().requires_grad_() if one.is_floating_point() else one for one in arguments]
        GraphLoss(self.default(), "sum")(*given).backward()
        for place, one in enumerate(given):
            if place in moving:
                assert one.grad is not None, f"no gradient to argument {place}"
                assert bool(one.grad.isfinite().all())
                assert bool((one.grad != 0).any())
            elif one.is_floating_point() and form.head is not None:
                assert one.grad is None or not bool((one.grad != 0).any()), f"a gradient to argument {place}"

    def test_reductions_agree(self) -> None:
        arguments = self.arguments()
        elements, total, mean = (
            GraphLoss(self.default(), how)(*arguments) for how in ("none", "sum", "mean")
        )
        torch.testing.assert_close(elements.sum(), total)
        torch.testing.assert_close(elements.mean(), mean)

    def test_half_precision_is_computed_in_float32(self) -> None:
        loss = GraphLoss(self.default())
        assert loss(*self.arguments(torch.bfloat16)).dtype is torch.float32

    # -- searches

    def test_drafts_are_well_shaped_and_breed(self) -> None:
        primitives = PrimitiveSet.of(self.signature)
        inputs = sample_domain(self.signature, 5)
        with seeded(3):
            trees = [random_tree(primitives) for _ in range(2 * self.drafts)]
            trees += [
                child for a, b in zip(trees[::2], trees[1::2], strict=True) for child in crossover(a, b)
            ]
        made = 0
        for tree in trees:
            try:
                graph = primitives.to_graph(tree)
            except FormulaError:
                continue
            made += 1
            assert parse(graph.formula, self.signature) == graph
            assert primitives.to_graph(primitives.to_tree(graph)) == graph
            compile_graph(graph)({name: value.clone() for name, value in inputs.items()})
        assert made > self.drafts

    # -- files

    def test_exported_code_is_the_loss(self) -> None:
        arguments = self.arguments()
        for graph in self.graphs():
            module = self.exported(graph)
            for how in ("none", "sum"):
                wanted, found = GraphLoss(graph, how)(*arguments), module(how)(*arguments)
                torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)

    def exported(self, graph: LossGraph) -> Callable[[str], Callable[..., Tensor]]:
        """The class in the exported file."""
        from importlib.util import module_from_spec, spec_from_file_location

        with tempfile.TemporaryDirectory() as folder:
            path = export_loss(graph, Path(folder, "loss.py"))
            spec = spec_from_file_location("exported_loss", path)
            assert spec is not None
            assert spec.loader is not None
            module: Any = module_from_spec(spec)
            spec.loader.exec_module(module)
        return module.DiscoveredLoss

    def test_json_brings_the_signature_along(self) -> None:
        graph = self.default()
        text = json.dumps(to_json(graph, provenance={"seed": 1}))
        found = from_json(text)
        assert found.graph == graph
        assert found.graph.signature == self.signature
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "loss.json")
            path.write_text(text)
            arguments = self.arguments()
            assert torch.equal(load_loss(path)(*arguments), GraphLoss(graph)(*arguments))

    def test_it_is_drawn_and_typeset(self) -> None:
        graph = self.default()
        assert to_latex(graph)
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".svg", ".tex", ".dot"):
                assert export_loss(graph, Path(folder, f"loss{suffix}")).stat().st_size > 0

    def test_it_is_explained_and_recognised(self) -> None:
        text = f"Mul(2,{self.signature.default})"
        page = explain(text, self.signature)
        assert page.verdict is not None
        assert page.verdict.accepted
        assert "times 2" in page.alias
        assert "<svg" in page.html(), "its curves are drawn"
        assert any("times 2" in str(match) for match in find_alike(text, self.signature))
