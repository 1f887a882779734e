"""The exported file: imports torch alone, equals GraphLoss, and does what torch's own losses do."""

from __future__ import annotations

import ast
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from export_samples import ENTRIES, NAMES, PlainLoss, batch, catalogue_graph, imported, value_and_gradient

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import torch_source, torch_source_pair
from cse_autoloss.losses import CATALOGUE, GraphLoss, load_loss
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import SIGNATURES, parse

DETECTION = ("cls-binary", "cls-multiclass", "reg")

RUNNER = """
import importlib.util, json, sys
sys.modules["cse_autoloss"] = None  # importing it raises ImportError
import torch

folder, out = sys.argv[1:]
results = {}
for name, arguments in torch.load(f"{folder}/batches.pt", weights_only=True).items():
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), f"{folder}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for reduction in ("none", "mean", "sum"):
        first = arguments[0].clone().requires_grad_()
        value = module.DiscoveredLoss(reduction)(first, *arguments[1:])
        value.sum().backward()
        results[f"{name}/{reduction}"] = [value.detach(), first.grad]
assert not any(name.startswith("cse_autoloss.") for name in sys.modules)
torch.save(results, out)
"""


def test_files_run_where_this_package_is_missing(tmp_path: Path) -> None:
    batches = {}
    for entry in ENTRIES:
        graph = catalogue_graph(entry.name)
        (tmp_path / f"{entry.name}.py").write_text(torch_source(graph, alpha=entry.alpha), encoding="utf-8")
        batches[entry.name] = batch(entry.signature.name)
    torch.save(batches, tmp_path / "batches.pt")
    (tmp_path / "runner.py").write_text(RUNNER)
    command = [sys.executable, "-I", "runner.py", str(tmp_path), "results.pt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = torch.load(tmp_path / "results.pt", weights_only=True)
    for entry in ENTRIES:
        for reduction in ("none", "mean", "sum"):
            expected = value_and_gradient(load_loss(entry.name, reduction=reduction), batches[entry.name])
            torch.testing.assert_close(
                tuple(results[f"{entry.name}/{reduction}"]), expected, rtol=1e-12, atol=1e-13
            )


@pytest.mark.parametrize("branch", DETECTION)
def test_random_losses_equal_their_graphs(branch: str, tmp_path: Path) -> None:
    """340 a branch, more than 1,000 together: none lacks an operator, each is the graph's loss to rounding."""
    arguments = batch(branch)
    seen: set[str] = set()
    for number in range(340):
        graph = random_graph(SIGNATURES[branch], f"export-{branch}-{number}")
        source = torch_source(graph)
        seen.update(node.symbol for node in graph.nodes)
        module = imported(source, tmp_path, "random_loss")
        value, gradient = value_and_gradient(module.DiscoveredLoss("none"), arguments)
        expected, slope = value_and_gradient(PlainLoss(graph), arguments)
        # Where the graph has nan the file may have a number: y·a is a at the target, also where a is infinite
        # elsewhere. A gradient beyond 1e15 is the rounding of a division by ε.
        known = ~expected.isnan()
        torch.testing.assert_close(value[known], expected[known], rtol=1e-9, atol=1e-11)
        rows = known.reshape(len(known), -1).all(-1) & (slope.abs().amax(-1) < 1e15)
        torch.testing.assert_close(gradient[rows], slope[rows], rtol=1e-7, atol=1e-9)
        assert max(len(line) for line in source.splitlines()) <= 110
        assert len(source.splitlines()) < 140
    assert set(SIGNATURES[branch].operators) <= seen


@pytest.mark.parametrize("name", ["bce", "cse-autoloss-b-cls", "cse-autoloss-a-cls", "cse-autoloss-b-reg"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_autocast_and_half_inputs_are_computed_in_float32(
    name: str, half: torch.dtype, tmp_path: Path
) -> None:
    entry = CATALOGUE[name]
    loss = imported(torch_source(catalogue_graph(name), alpha=entry.alpha), tmp_path).DiscoveredLoss("none")
    arguments = [a.to(half) if a.is_floating_point() else a for a in batch(entry.signature.name)]
    if entry.signature.name == "reg":
        arguments = [a * 20 for a in arguments]  # areas beyond float16's 65,504
    else:
        arguments[0] = arguments[0] * 30
    with torch.autocast("cpu", dtype=half):
        value, gradient = value_and_gradient(loss, arguments)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert gradient.dtype == half
    assert gradient.isfinite().all()
    exact = loss(*(a.double() if a.is_floating_point() else a for a in arguments))
    torch.testing.assert_close(value.double(), exact, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_inputs_stay_finite(name: str, tmp_path: Path) -> None:
    entry = CATALOGUE[name]
    loss = imported(torch_source(catalogue_graph(name)), tmp_path).DiscoveredLoss("none")
    arguments = batch(entry.signature.name, torch.float32)
    if entry.signature.name != "reg":
        arguments[0] = torch.linspace(-100, 100, arguments[0].numel()).reshape(arguments[0].shape)
    else:
        arguments[0] = torch.cat([arguments[1][:7], arguments[1][7:] + 1000])
    value, gradient = value_and_gradient(loss, arguments)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["bce", "cross-entropy"])
def test_ignored_samples_count_nothing(name: str, tmp_path: Path) -> None:
    module = imported(torch_source(catalogue_graph(name)), tmp_path)
    logits, target, iou = batch(CATALOGUE[name].signature.name)
    ignored = target.clone()
    ignored[::3] = -100
    kept = ignored != -100
    for reduction in ("mean", "sum"):
        loss = module.DiscoveredLoss(reduction)
        assert torch.allclose(loss(logits, ignored, iou), loss(logits[kept], target[kept], iou[kept]))
    rows = module.DiscoveredLoss("none")(logits, ignored, iou)
    assert (rows[~kept] == 0).all()
    broken = iou.clone()
    broken[~kept] = torch.nan
    first = logits.clone().requires_grad_()
    module.DiscoveredLoss()(first, ignored, broken).backward()
    assert first.grad.isfinite().all()
    assert (first.grad[~kept] == 0).all()
    nothing = module.DiscoveredLoss()(logits, torch.full_like(target, -100), iou)
    assert nothing == 0
    other = module.DiscoveredLoss(ignore_index=255)(logits, torch.where(kept, target, 255), iou)
    assert torch.allclose(other, module.DiscoveredLoss()(logits, ignored, iou))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["bce", "cross-entropy"])
def test_what_is_ignored_may_hold_anything(name: str, tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph(name)), tmp_path).DiscoveredLoss()
    logits, target, _ = batch(CATALOGUE[name].signature.name)
    target[::3] = -100
    logits = torch.where((target == -100).unsqueeze(-1), torch.nan, logits)
    traced = torch.jit.trace(loss, (logits.nan_to_num(), target.clamp(min=0)), check_trace=False)
    for one in (loss, traced):
        value, gradient = value_and_gradient(one, [logits, target])
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["bce", "cross-entropy"])
def test_gradients_of_single_samples(name: str, tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph(name)), tmp_path).DiscoveredLoss("sum")
    logits, target, _ = batch(CATALOGUE[name].signature.name)
    target[0] = -100
    single = torch.func.vmap(torch.func.grad(lambda x, t: loss(x[None], t[None])))(logits, target)
    assert torch.allclose(single, torch.func.grad(loss)(logits, target))


def test_cross_entropy_agrees_with_torch(tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph("cross-entropy")), tmp_path).DiscoveredLoss()
    logits, target, _ = batch("cls-multiclass")
    target[::4] = -100
    assert torch.allclose(loss(logits, target), torch.nn.functional.cross_entropy(logits, target))


@pytest.mark.parametrize("name", ["focal", "cross-entropy", "giou"])
def test_weight_multiplies_each_sample(name: str, tmp_path: Path) -> None:
    module = imported(torch_source(catalogue_graph(name)), tmp_path)
    arguments = batch(CATALOGUE[name].signature.name)
    weight = torch.rand(len(arguments[0]), dtype=torch.float64)
    rows = module.DiscoveredLoss("none")(*arguments)
    factor = weight.unsqueeze(-1) if rows.dim() == 2 else weight
    weighted = rows * factor
    for reduction, expected in (("none", weighted), ("sum", weighted.sum()), ("mean", weighted.mean())):
        assert torch.allclose(module.DiscoveredLoss(reduction)(*arguments, weight=weight), expected)


def test_no_boxes_have_loss_zero(tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph("giou")), tmp_path).DiscoveredLoss()
    boxes = torch.zeros(0, 4, requires_grad=True)
    value = loss(boxes, torch.zeros(0, 4))
    value.backward()
    assert value == 0


def test_a_pair_is_two_classes_in_one_file(tmp_path: Path) -> None:
    cls, reg = catalogue_graph("cse-autoloss-b-cls"), catalogue_graph("cse-autoloss-b-reg")
    module = imported(torch_source_pair(cls, reg, alpha=0.25), tmp_path)
    assert torch.allclose(
        module.ClassificationLoss()(*batch("cls-binary")), GraphLoss(cls, alpha=0.25)(*batch("cls-binary"))
    )
    assert torch.allclose(module.BoxLoss()(*batch("reg")), GraphLoss(reg)(*batch("reg")))
    with pytest.raises(AutoLossError, match="a classification loss and a box loss"):
        torch_source_pair(reg, cls)


@pytest.mark.parametrize("name", ["focal", "cse-autoloss-b-cls", "cse-autoloss-a-cls", "cse-autoloss-b-reg"])
def test_copies_pickles_and_exports(name: str, tmp_path: Path) -> None:
    module = imported(torch_source(catalogue_graph(name)), tmp_path, "kept_loss")
    loss = module.DiscoveredLoss()
    arguments = batch(CATALOGUE[name].signature.name)
    expected = loss(*arguments)
    assert torch.equal(copy.deepcopy(loss)(*arguments), expected)
    again = pickle.loads(pickle.dumps(loss))
    assert torch.equal(again(*arguments), expected)
    program = torch.export.export(loss, tuple(arguments))
    assert torch.allclose(program.module()(*arguments), expected)


@pytest.mark.parametrize("name", ["cse-autoloss-b-cls", "cse-autoloss-a-cls", "cse-autoloss-b-reg"])
def test_compiles_into_one_graph(name: str, tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph(name)), tmp_path).DiscoveredLoss()
    arguments = batch(CATALOGUE[name].signature.name)
    # "aot_eager" traces forward and backward as inductor does, without its C++ build.
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for got, expected in zip(
        value_and_gradient(compiled, arguments), value_and_gradient(loss, arguments), strict=True
    ):
        assert torch.allclose(got, expected)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_clean_for_ruff_and_short(name: str, tmp_path: Path) -> None:
    entry = CATALOGUE[name]
    path = tmp_path / "loss.py"
    path.write_text(torch_source(catalogue_graph(name), alpha=entry.alpha, provenance={"seed": 1}))
    rules = "E,F,W,I,UP,B,C4,SIM,RET,PIE,N,D2"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=110", f"--select={rules}"]
    # N812: torch's functional module is F by custom; D203, D212, D213: of such pairs one is to choose.
    done = subprocess.run(
        [*command, "--ignore=N812,D203,D212,D213,E741", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert len(path.read_text().splitlines()) < 130


def test_b_cls_reads_as_if_by_hand() -> None:
    source = torch_source(catalogue_graph("cse-autoloss-b-cls"), alpha=0.25)
    for line in (
        "log_prob = F.logsigmoid(logits)",
        "sgdf = torch.atan(torch.tanh(logits * 0.39269908169872414)) * 0.6366197723675814 + 0.5",
        "not_prob = torch.sigmoid(-logits)",
        "log_not_prob = F.logsigmoid(-logits)",
        "loss = loss * (self.alpha * positive + (1 - self.alpha) * negative)",
    ):
        assert f"        {line}\n" in source
    box = torch_source(parse("Sub(1,Div(I,U))", "reg"))
    assert "iou = inter / union\n        loss = 1 - iou\n" in box
    assert "enclosing =" not in box


def test_one_hot_products_become_a_gather() -> None:
    source = torch_source(catalogue_graph("cse-autoloss-a-cls"))
    assert "log_prob = torch.log_softmax(logits, -1).gather(1, label)\n" in source
    assert "loss = -((1 + torch.sin(quality)) * log_prob)\n" in source
    assert "one_hot" not in source
    mixed = torch_source(parse("Dot(Softmax(X),Log(Softmax(Mul(Y,X))))", "cls-multiclass"))
    assert "sum(-1, keepdim=True)" in mixed
    assert "one_hot = " in mixed


HOSTILE = [
    '"""\nimport os\nos.system("touch pwned")\n"""',
    "\\",
    'end with quotes """',
    '\\"""\nraise SystemExit',
    "line\r\nbreak\u2028 and \u202e bidi \x00 null",
    "{not_a_field} %s",
    "\ud800 surrogate",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_provenance_can_not_leave_the_docstring(text: str, tmp_path: Path) -> None:
    source = torch_source(catalogue_graph("bce"), provenance={"run": text, text: 1, "nested": {"a": [text]}})
    tree = ast.parse(source)
    clean = ast.parse(torch_source(catalogue_graph("bce"), provenance={"run": "x"}))
    assert [ast.dump(node) for node in tree.body[1:]] == [ast.dump(node) for node in clean.body[1:]]
    assert all(character.isprintable() or character == "\n" for character in source)
    source.encode("utf-8")


def test_provenance_shows_figures_with_their_interval() -> None:
    provenance = {"run": "runs/7", "seed": 3, "test_ap": {"mean": 0.5123, "low": 0.5, "high": 0.52}}
    provenance["gain"] = {"mean": 0.01, "low": 0.0, "high": 0.02, "over": "focal + giou"}
    source = torch_source(catalogue_graph("bce"), provenance=provenance)
    assert "    test_ap  0.5123 [0.5000, 0.5200]\n" in source
    assert "    gain     0.0100 [0.0000, 0.0200] over focal + giou\n" in source
    assert "    seed     3\n" in source
    assert r"L = -(y \cdot \log(\sigma(x))" in source
    assert catalogue_graph("bce").formula in source


@pytest.mark.parametrize("name", ["", "2nd", "class", "a b", "x\ny", "torch", 'A"""'])
def test_bad_class_names_are_refused(name: str) -> None:
    with pytest.raises(AutoLossError, match="is no name for a class"):
        torch_source(catalogue_graph("bce"), name=name)


def test_alpha_and_provenance_are_checked() -> None:
    with pytest.raises(AutoLossError, match="alpha"):
        torch_source(catalogue_graph("iou"), alpha=0.25)
    with pytest.raises(AutoLossError, match="alpha"):
        torch_source(catalogue_graph("bce"), alpha=float("nan"))
    with pytest.raises(AutoLossError, match="JSON can not hold a object"):
        torch_source(catalogue_graph("bce"), provenance={"x": object()})
    with pytest.raises(AutoLossError, match="at most 60"):
        torch_source(catalogue_graph("bce"), provenance={str(i): i for i in range(61)})


def test_reductions_are_checked(tmp_path: Path) -> None:
    module = imported(torch_source(catalogue_graph("bce")), tmp_path)
    with pytest.raises(ValueError, match="reduction is 'mean', 'sum' or 'none', got 'avg'"):
        module.DiscoveredLoss("avg")


@pytest.mark.parametrize(
    ("formula", "branch"),
    [
        ("1", "cls-binary"),
        ("Exp(Neg(2))", "cls-multiclass"),
        ("3", "reg"),
        ("Log(Neg(1))", "reg"),
        ("Z", "cls-multiclass"),
    ],
)
def test_degenerate_losses_have_the_right_shape(formula: str, branch: str, tmp_path: Path) -> None:
    graph = parse(formula, branch)
    module = imported(torch_source(graph), tmp_path)
    arguments = batch(branch)
    expected = GraphLoss(graph, "none")(*arguments)
    torch.testing.assert_close(module.DiscoveredLoss("none")(*arguments), expected, equal_nan=True)


# --- shapes


@pytest.mark.parametrize(
    ("name", "logits", "target", "message"),
    [
        ("bce", (4,), (4,), r"logits must be float \(N, C, ...\), got \(4,\) torch.float32"),
        ("bce", (4, 1), (4, 1), r"target must be \(4,\), the shape of logits without axis 1, got \(4, 1\)"),
        ("bce", (2, 3), (2, 3), r"target must be \(2,\)"),
        ("bce", (2, 1, 8, 8), (2, 1, 8, 8), r"target must be \(2, 8, 8\)"),
        ("cross-entropy", (2, 5, 8, 8), (2, 5), r"target must be \(2, 8, 8\)"),
        ("cross-entropy", (6, 5), (6, 1), r"target must be \(6,\)"),
    ],
)
def test_other_shapes_are_refused(
    name: str, logits: tuple[int, ...], target: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    loss = imported(torch_source(catalogue_graph(name)), tmp_path).DiscoveredLoss()
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(logits), torch.zeros(target, dtype=torch.int64))


def test_other_types_and_lengths_are_refused(tmp_path: Path) -> None:
    loss = imported(torch_source(catalogue_graph("focal")), tmp_path).DiscoveredLoss()
    logits, target, iou = batch("cls-binary")
    with pytest.raises(
        ValueError, match=r"target must be int64 class indices, no mask or shares, got torch\.float64"
    ):
        loss(logits, target.double())
    with pytest.raises(ValueError, match=r"logits must be float .* torch\.int64"):
        loss(logits.long(), target)
    with pytest.raises(ValueError, match=r"iou must be \(14,\)"):
        loss(logits, target, iou[:1])
    with pytest.raises(ValueError, match=r"weight must be \(14,\)"):
        loss(logits, target, iou, iou.unsqueeze(-1))


@pytest.mark.parametrize("name", ["focal", "varifocal", "cross-entropy", "cse-autoloss-a-cls"])
def test_axes_behind_the_classes_are_samples(name: str, tmp_path: Path) -> None:
    """Maps (2, 5, 7) mean what their 14 places mean as rows, and the elements have the map's shape."""
    module = imported(torch_source(catalogue_graph(name)), tmp_path)
    logits, target, iou = batch(CATALOGUE[name].signature.name)
    target[3] = -100
    maps = [logits.reshape(2, 7, 5).movedim(-1, 1), target.reshape(2, 7), iou.reshape(2, 7)]
    for reduction in ("mean", "sum"):
        loss = module.DiscoveredLoss(reduction)
        assert torch.equal(loss(*maps, weight=maps[2]), loss(logits, target, iou, iou))
    rows, mapped = (module.DiscoveredLoss("none")(*args) for args in ((logits, target, iou), maps))
    expected = rows.reshape(2, 7, 5).movedim(-1, 1) if rows.dim() == 2 else rows.reshape(2, 7)
    assert torch.equal(mapped, expected)


def test_segmentation_is_torchs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 5, 8, 6), torch.randint(0, 5, (2, 8, 6))
    target[0, 0] = -100
    module = imported(torch_source(catalogue_graph("cross-entropy")), tmp_path)
    for reduction in ("none", "mean", "sum"):
        expected = torch.nn.functional.cross_entropy(logits, target, reduction=reduction)
        torch.testing.assert_close(module.DiscoveredLoss(reduction)(logits, target), expected)
    loss = module.DiscoveredLoss()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    program = torch.export.export(loss, (logits, target))
    torch.testing.assert_close(program.module()(logits, target), loss(logits, target))
