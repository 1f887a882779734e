"""`export_loss`: the suffix decides, and what it writes can be used. ONNX and the half-precision report."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from export_samples import batch, catalogue_graph, imported

import cse_autoloss
from cse_autoloss.certify import Certificate
from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import export_loss, report_overflow, torch_source
from cse_autoloss.losses import CATALOGUE, GraphLoss, load_loss
from cse_autoloss.spaces import parse


def test_every_suffix_is_written(tmp_path: Path) -> None:
    graph = catalogue_graph("focal")
    for suffix in (".py", ".json", ".svg", ".png", ".dot", ".tex"):
        path = export_loss(graph, tmp_path / f"loss{suffix}", provenance={"seed": 1})
        assert path.stat().st_size > 0
    module = imported((tmp_path / "loss.py").read_text(), tmp_path)
    assert torch.allclose(
        module.DiscoveredLoss()(*batch("cls-binary")), GraphLoss(graph)(*batch("cls-binary"))
    )
    assert (tmp_path / "loss.tex").read_text().startswith(r"\[ L = -(1 - \sigma(")


def test_unknown_suffixes_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(AutoLossError, match=r"did you mean '.json'"):
        export_loss(catalogue_graph("focal"), tmp_path / "loss.jso")
    with pytest.raises(AutoLossError, match="can not write"):
        export_loss(catalogue_graph("focal"), tmp_path / "missing" / "loss.py")
    with pytest.raises(AutoLossError, match="holds one loss"):
        export_loss((catalogue_graph("focal"), catalogue_graph("iou")), tmp_path / "loss.onnx")


@pytest.mark.parametrize("name", [name for name, one in CATALOGUE.items() if one.signature.name == "margin"])
def test_margin_losses_are_written_as_torch_code_alone(name: str, tmp_path: Path) -> None:
    module = imported(cse_autoloss.export_loss(name, tmp_path / "loss.py").read_text(), tmp_path)
    torch.manual_seed(0)
    target = torch.randint(0, 7, (40,))
    for dtype in (torch.float64, torch.float16):
        gradients = []
        for loss in (module.DiscoveredLoss(), load_loss(name)):
            cosine = torch.linspace(-1, 1, 280).reshape(40, 7).to(dtype).requires_grad_()
            value = loss(cosine, target)
            gradients.append((value, *torch.autograd.grad(value, cosine)))
        for got, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"cosine must be float \(N, C\)"):
        module.DiscoveredLoss()(torch.zeros(2, 7, 3), torch.zeros(2, 3, dtype=torch.int64))
    for suffix in (".svg", ".onnx", ".tex", ".json"):
        with pytest.raises(AutoLossError, match=r"is no expression; it is written as \.py"):
            cse_autoloss.export_loss(name, tmp_path / f"loss{suffix}")


BOXES = [name for name, one in CATALOGUE.items() if one.signature.name == "reg" and one.formula is None]


@pytest.mark.parametrize("name", BOXES)
def test_box_losses_on_coordinates_are_written_as_torch_code_alone(name: str, tmp_path: Path) -> None:
    source = cse_autoloss.export_loss(name, tmp_path / "loss.py").read_text()
    assert "cse_autoloss" not in source
    module = imported(source, tmp_path)
    rng = torch.Generator().manual_seed(0)
    corners = 100 * torch.rand(60, 2, 2, 2, generator=rng)
    boxes, target = torch.cat([corners.amin(2), corners.amax(2)], -1).unbind(1)
    for dtype in (torch.float64, torch.float32, torch.float16):
        gradients = []
        for loss in (module.DiscoveredLoss("none"), load_loss(name, reduction="none")):
            given = boxes.to(dtype, copy=True).requires_grad_()
            values = loss(given, target.to(dtype))
            gradients.append((values, *torch.autograd.grad(values.sum(), given)))
        for got, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    weight = torch.rand(60, generator=rng)
    wanted = (weight * load_loss(name, reduction="none")(boxes, target)).mean()
    torch.testing.assert_close(module.DiscoveredLoss()(boxes, target, weight), wanted)
    assert float(module.DiscoveredLoss()(boxes[:0], target[:0])) == 0
    with pytest.raises(ValueError, match="each predicted box needs its target"):
        module.DiscoveredLoss()(boxes, target[:3])
    with pytest.raises(ValueError, match=r"pred_boxes must be float \(N, 4\)"):
        module.DiscoveredLoss()(boxes[0], target[0])
    if name in ("ciou", "wiou"):
        given = boxes.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module.DiscoveredLoss()(given, target), given, create_graph=True)
        with pytest.raises(ValueError, match=r"no second derivative: .* is held constant"):
            slope.sum().backward()


@pytest.mark.parametrize("name", ["ap-loss", "alrp", "rank-sort"])
def test_rankings_are_written_as_torch_code_alone(name: str, tmp_path: Path) -> None:
    """As `load_loss` has them, samples that are ignored and wrong targets included."""
    source = cse_autoloss.export_loss(name, tmp_path / "loss.py").read_text()
    assert "cse_autoloss" not in source
    module = imported(source, tmp_path)
    rng = torch.Generator().manual_seed(0)
    logits, iou = torch.randn(50, 4, generator=rng), torch.rand(50, generator=rng)
    target = torch.randint(0, 8, (50,), generator=rng).clamp(max=4)
    target[:5] = -100
    for reduction in ("mean", "sum", "none"):
        gradients = []
        for loss in (module.DiscoveredLoss(reduction), load_loss(name, reduction=reduction)):
            given = logits.clone().requires_grad_()
            values = loss(given, target, iou)
            gradients.append((values, *torch.autograd.grad(values.sum(), given)))
        for got, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    assert not gradients[0][1][:5].any()
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=r"targets must lie in \[0, C\]"):
            module.DiscoveredLoss()(logits, torch.full((50,), wrong), iou)
    with pytest.raises(ValueError, match=r"iou must be \(N,\)"):
        module.DiscoveredLoss()(logits, target, iou[:3])


def test_onnx_of_a_signature_of_ones_own_takes_any_length(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    residual = CATALOGUE["huber"].signature
    walks = [cse_autoloss.Walk("A", start=0, end=1, at={"B": 0.5})]
    two = [
        cse_autoloss.Signature(
            f"two-{kind}",
            inputs=[cse_autoloss.Input("A", kind=kind), cse_autoloss.Input("B")],
            walks=walks,
            default="Mul(Sub(1,A),Exp(B))",
            result=kind,
        )
        for kind in ("per-sample", "per-class")
    ]
    for signature in (residual, *two):
        path = cse_autoloss.export_loss(signature.default, tmp_path / "loss.onnx", signature=signature)
        session = reference.ReferenceEvaluator(onnx.load(path))
        loss = load_loss(signature.default, signature, reduction="none")
        for count in (3, 9):
            given = {
                one.name: torch.rand(count, 7) if one.kind.value == "per-class" else torch.rand(count)
                for one in signature.inputs
            }
            (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
            torch.testing.assert_close(torch.from_numpy(found), loss(**given))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["cse-autoloss-b-cls", "varifocal", "cross-entropy", "cse-autoloss-b-reg"])
def test_onnx_computes_the_same(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    entry = CATALOGUE[name]
    facts = {"proved": "Bounded below", "seed": 3}
    path = export_loss(catalogue_graph(name), tmp_path / "loss.onnx", alpha=entry.alpha, provenance=facts)
    model = onnx.load(path)
    assert [(one.key, one.value) for one in model.metadata_props] == [
        ("proved", "Bounded below"),
        ("seed", "3"),
    ]
    onnx.checker.check_model(model, full_check=True)
    assert b".py" not in path.read_bytes()  # no paths of the machine
    # Where a runtime's Sigmoid is 0, the Log of it is none.
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    assert not any(made.get(node.input[0]) == "Sigmoid" for node in model.graph.node if node.op_type == "Log")
    names = [value.name for value in model.graph.input]
    for rows in (14, 3):
        arguments = batch(entry.signature.name, torch.float32, rows)[: len(names)]
        feeds = {name: argument.numpy() for name, argument in zip(names, arguments, strict=True)}
        (got,) = reference.ReferenceEvaluator(model).run(None, feeds)
        expected = GraphLoss(catalogue_graph(name), "none", entry.alpha)(*arguments)
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-5, atol=1e-6)


def test_the_exported_file_itself_becomes_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    loss = imported(torch_source(catalogue_graph("cse-autoloss-a-cls")), tmp_path).DiscoveredLoss()
    arguments = batch("cls-multiclass", torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of its own parts
        program = torch.onnx.export(loss, tuple(arguments), dynamo=True, verbose=False)
    assert program is not None
    feeds = {v.name: a.numpy() for v, a in zip(program.model_proto.graph.input, arguments, strict=True)}
    (got,) = reference.ReferenceEvaluator(program.model_proto).run(None, feeds)
    torch.testing.assert_close(torch.as_tensor(got), loss(*arguments))


def test_half_precision_report_names_what_overflows() -> None:
    report = report_overflow(catalogue_graph("giou"))
    assert {finding.formula for finding in report.findings} >= {"U", "E"}
    assert all(finding.fault == "overflows" for finding in report.findings if finding.formula in ("U", "E"))
    assert "E overflows" in str(report)
    assert report_overflow(catalogue_graph("giou"), torch.bfloat16).findings == ()
    clean = report_overflow(catalogue_graph("bce"))
    assert clean.findings == ()
    assert clean.error < 0.01
    assert "nothing overflows" in str(clean)
    exp = report_overflow(parse("Exp(X)"))
    assert exp.findings[0].formula == "Exp(X)"
    assert exp.findings[0].value > 65504
    with pytest.raises(AutoLossError, match="float16"):
        report_overflow(catalogue_graph("bce"), torch.float32)


def test_an_exported_formula_says_what_is_proved(tmp_path: Path) -> None:
    source = cse_autoloss.export_loss("bce", tmp_path / "loss.py").read_text()
    assert "proved  Never rises with the logit of a positive, at w = 1;" in source
    data = json.loads(cse_autoloss.export_loss("bce", tmp_path / "loss.json").read_text())
    assert Certificate.from_dict(data["provenance"]["certificate"]).of("proved")
    formula, *comments = cse_autoloss.export_loss("bce", tmp_path / "loss.tex").read_text().splitlines()
    assert formula.endswith(r"\]")
    assert comments[0].startswith("% proved  Never rises with the logit of a positive, at w = 1;")
    assert all(line.startswith("% ") for line in comments)
    assert cse_autoloss.load_loss(tmp_path / "loss.json").graph == catalogue_graph("bce")


def test_a_file_of_two_losses_is_taken_whole(tmp_path: Path) -> None:
    two = tmp_path / "two.json"
    export_loss((catalogue_graph("focal"), catalogue_graph("giou")), two)
    text = cse_autoloss.export_loss(two, tmp_path / "losses.py").read_text()
    assert "class ClassificationLoss" in text
    assert "class BoxLoss" in text
    one = cse_autoloss.export_loss(two, tmp_path / "one.json", "reg")
    assert load_loss(one).signature.name == "reg"
    assert cse_autoloss.render_loss(two, tmp_path / "graph.svg").stat().st_size > 0
    names = [path.name for path in cse_autoloss.explain_loss(two, tmp_path / "page.html")]
    assert {"page-cls.html", "page-reg.html"} <= set(names)
    (tmp_path / "broken.json").write_bytes(b'\xff"cls":')
    with pytest.raises(AutoLossError, match=r"broken\.json: not JSON"):
        cse_autoloss.export_loss(tmp_path / "broken.json", tmp_path / "x.py")


def test_a_pair_by_its_name_and_code_that_is_not_read(tmp_path: Path) -> None:
    cse_autoloss.export_loss("focal(gamma=1)+giou", tmp_path / "pair.json")
    assert cse_autoloss.load_loss(tmp_path / "pair.json", "reg").graph == cse_autoloss.load_loss("giou").graph
    assert (
        cse_autoloss.load_loss(tmp_path / "pair.json", "cls-binary").graph
        == cse_autoloss.load_loss("focal(gamma=1)").graph
    )
    code = cse_autoloss.export_loss("bce + Sub(1,Div(I,U))", tmp_path / "pair.py")
    assert "class BoxLoss" in code.read_text()
    for text, words in (
        (
            "focal+bce",
            "'focal.bce': expected CLS.REG, a loss of classes and one of boxes, got cls-binary.cls-binary",
        ),
        ("focal+huber", "got cls-binary.regression"),
        ("focal+gio", "unknown loss 'gio'; did you mean 'giou'"),
        (str(code), "pair.py: Python code, which is imported and not read; name the .json of the same loss"),
    ):
        with pytest.raises(AutoLossError, match=words) as told:
            cse_autoloss.export_loss(text, tmp_path / "other.py")
        assert "\n" not in str(told.value)
    with pytest.raises(AutoLossError, match=r"focal\+giou: a pair; give 'focal' or 'giou', one at a time"):
        cse_autoloss.load_loss("focal+giou")
    for source in (str(code), code):
        with pytest.raises(AutoLossError, match="Python code, which is imported and not read"):
            cse_autoloss.load_loss(source)
    with pytest.raises(AutoLossError, match="Python code, which is imported and not read"):
        cse_autoloss.compare_losses([str(code)])
