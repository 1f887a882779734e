"""Golden runs: small searches find, to the last bit, what they found when tests/golden/ was recorded.

They stand guard while the package is reshaped. Where a change is meant to change what a run finds, record anew and
say so in the change:

    python tests/test_golden.py --record [NAME ...]

Figures of trainings hold for processors that compute alike, so each kind of them has its folder; on others the tests
are skipped. `--record` takes away what the other kinds have of these runs, which is no longer right; `--add`, from a
version whose tests pass elsewhere, has a further kind guarded.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_read import Json, evolved, reinforced
from torch import nn
from torch.nn import functional as F

import cse_autoloss

FOLDER = Path(__file__).parent / "golden"
RECORD, ADD = (f"python tests/test_golden.py {what}" for what in ("--record", "--add"))

# The first goes through every stage as `smoke` has them. The second starts from few losses, so that more comes of
# breeding; a branch has its turn again, with its elite; both branches climb rungs; tuning has a round.
FIRST: dict[str, Any] = {"seed": 0}
SECOND: dict[str, Any] = {
    "seed": 1,
    "generations": 3,
    "alpha": 0.75,
    "evolution__handcrafted_seeds": False,
    "evolution__offspring": 2,
    "evolution__batch": 20,
    "evolution__scouts": 200,
    "evolution__random_fraction": 0.3,
    "proxy__whole_slots": [],
    "audit__baselines": 1,
    "audit__tuning": 6,
}
STARTERS = {
    "one-stage": ["bce", "quality-focal", "giou", "Neg(Log(Div(I,U)))"],
    "two-stage": ["cross-entropy", "softmax-poly-1", "giou", "Neg(Log(Div(I,U)))"],
}
REINFORCE: dict[str, Any] = {
    "device": "cpu",
    "executor": "inprocess",
    "reinforce.seeds": 2,
    "own.train_limit": 200,
    "own.epochs": 3,
    "reinforce.samples": 3,
    "reinforce.intervals": 3,
    "reinforce.baselines": ["softmax", "cosface"],
    "reinforce.lr_factors": [2.0],
}


def _evolve(directory: Path, detector: str, **settings: Any) -> Json:
    """A search for a detection loss, and what it found."""
    run = directory / "run"
    cse_autoloss.evolve(
        config="smoke",
        out=run,
        executor="inprocess",
        device="cpu",
        detection__detector=detector,
        detection__cache=directory / "scenes",
        **settings,
    )
    return evolved(run)


def _reinforce(directory: Path, space: str) -> Json:
    """A search of a parametric space, and what it found."""
    run = directory / "run"
    cse_autoloss.reinforce_loss(out=run, **REINFORCE, **{"reinforce.space": space})
    return reinforced(run)


RUNS: dict[str, Callable[[Path], Json]] = {
    "evolve-one-stage-0": partial(_evolve, detector="one-stage", **FIRST),
    "evolve-one-stage-1": partial(_evolve, detector="one-stage", seed_losses=STARTERS["one-stage"], **SECOND),
    "evolve-two-stage-0": partial(_evolve, detector="two-stage", **FIRST),
    "evolve-two-stage-1": partial(_evolve, detector="two-stage", seed_losses=STARTERS["two-stage"], **SECOND),
    "reinforce-am-lfs": partial(_reinforce, space="am-lfs"),
    "reinforce-search-softmax": partial(_reinforce, space="search-softmax"),
    "reinforce-random-softmax": partial(_reinforce, space="random-softmax"),
}


def found(name: str, directory: Path) -> Json:
    """What the run of this name finds now, in an empty directory."""
    with one_thread():
        result: Json = json.loads(json.dumps(RUNS[name](directory)))
    return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as in workers: more threads sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# -- arithmetic ------------------------------------------------------------------------------------------------


@cache
def arithmetic() -> Json:
    """How this machine computes, without any code of the package: where it is equal, runs must be equal too."""
    digest = hashlib.sha256()
    with one_thread():
        for values in (*_detector_steps(), *_stacked_steps(), *_functions()):
            digest.update(np.ascontiguousarray(values).tobytes())
    return {"torch": torch.__version__, "numpy": np.__version__, "digest": digest.hexdigest()}


def _detector_steps() -> list[Any]:
    """Weights and outputs of a small convolutional net after some steps of SGD."""
    source = torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.SiLU()]
    layers += [
        nn.Conv2d(32, 48, 3, 2, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.SiLU(),
        nn.Conv2d(48, 11, 1),
    ]
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=source))
    images = torch.randn(16, 1, 32, 32, generator=source)
    target = torch.randint(11, (16, 4, 4), generator=source)
    folded = F.pixel_unshuffle(images, 4).contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.15, momentum=0.9, nesterov=True, weight_decay=0.01)
    for _ in range(4):
        logits = net(folded)
        loss = (
            F.cross_entropy(logits, target)
            + F.softplus(logits).mean()
            + logits.sigmoid().log().square().mean()
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
    return [tensor.detach().numpy() for tensor in (*net.parameters(), net.eval()(folded))]


def _stacked_steps() -> list[Any]:
    """Weights of some small nets, trained side by side by batched products."""
    source = torch.Generator().manual_seed(1)
    first = (0.1 * torch.randn(3, 64, 96, generator=source)).requires_grad_()
    second = (0.1 * torch.randn(3, 96, 10, generator=source)).requires_grad_()
    images, target = torch.rand(50, 64, generator=source), torch.randint(10, (50,), generator=source)
    for _ in range(4):
        logits = torch.bmm((images @ first).relu(), second)
        loss = -logits.log_softmax(-1)[:, torch.arange(50), target].mean(-1).sum()
        gradients = torch.autograd.grad(loss, (first, second))
        with torch.no_grad():
            for weight, gradient in zip((first, second), gradients, strict=True):
                weight -= 0.2 * gradient
    return [first.detach().numpy(), second.detach().numpy()]


def _functions() -> list[Any]:
    """Elementary functions, sums and products, of torch and of numpy, in both precisions."""
    drawn = np.random.default_rng(0).uniform(0.01, 3.0, (37, 41))
    values: list[Any] = [drawn]
    for kind in (np.float32, np.float64):
        x = drawn.astype(kind)
        values += [
            f(x) for f in (np.exp, np.log, np.sin, np.cos, np.tanh, np.sqrt, np.arctan, np.expm1, np.log1p)
        ]
        values += [x**1.7, x.sum(0), x.mean(), x @ x.T, np.linalg.eigh(x @ x.T)[0]]
        t = torch.from_numpy(x)
        values += [f(t).numpy() for f in (torch.exp, torch.log, torch.sin, torch.cos, torch.tanh, torch.atan)]
        values += [f(t).numpy() for f in (torch.sqrt, torch.expm1, torch.log1p, torch.sigmoid, torch.erf)]
        values += [(t**1.7).numpy(), t.sum(0).numpy(), t.sum().numpy(), t.std().numpy(), (t @ t.T).numpy()]
        values += [t.softmax(-1).numpy(), t.logsumexp(-1).numpy(), t.cumsum(-1).numpy()]
    return values


# -- comparison ------------------------------------------------------------------------------------------------


def difference(expected: Any, got: Any, path: str = "") -> str | None:
    """The first place where two JSON values differ, in words; None where they are the same to the last bit."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in [*expected, *(name for name in got if name not in expected)]:
            place = f"{path}.{name}" if path else name
            if name not in got:
                return f"{place}: expected {_short(expected[name])}, got nothing"
            if name not in expected:
                return f"{place}: expected nothing, got {_short(got[name])}"
            if told := difference(expected[name], got[name], place):
                return told
        return None
    if isinstance(expected, list) and isinstance(got, list):
        for number, (one, other) in enumerate(zip(expected, got)):
            if told := difference(one, other, f"{path}[{number}]"):
                return told
        if len(expected) == len(got):
            return None
        longer = expected if len(expected) > len(got) else got
        first = f"{path}[{min(len(expected), len(got))}] is {_short(longer[min(len(expected), len(got))])}"
        return f"{path}: expected {len(expected)} items, got {len(got)}; {first}"
    # Their text tells 1 from 1.0 and from true, and 0.0 from -0.0.
    if json.dumps(expected) == json.dumps(got):
        return None
    return f"{path}: expected {_short(expected)}, got {_short(got)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


# -- files -----------------------------------------------------------------------------------------------------


def files(name: str) -> list[Path]:
    """The golden files of a run, one for each kind of processor."""
    return sorted(FOLDER.glob(f"*/{name}.json"))


def recorded(name: str) -> list[Json]:
    """What is in them."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in files(name)]


def kept(name: str) -> list[Json]:
    """What the run found, on each kind of processor."""
    return [document["found"] for document in recorded(name)]


def record(name: str, others_too: bool) -> None:
    """Write the golden file of a run for this machine, and take the others away or leave them."""
    with tempfile.TemporaryDirectory() as directory:
        document = {"arithmetic": arithmetic(), "found": found(name, Path(directory))}
    for file in () if others_too else files(name):
        file.unlink()
    own = FOLDER / document["arithmetic"]["digest"][:8] / f"{name}.json"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(_text(document) + "\n", encoding="utf-8")


def _text(value: Any, depth: int = 0) -> str:
    """JSON with a line for each item of the upper levels, so that changes can be read line by line."""
    if depth == 3 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    indent, brackets = " " * (depth + 1), "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, dict):
        items = [f"{json.dumps(name)}: {_text(item, depth + 1)}" for name, item in value.items()]
    else:
        items = [_text(item, depth + 1) for item in value]
    inner = ",\n".join(indent + item for item in items)
    return f"{brackets[0]}\n{inner}\n{' ' * depth}{brackets[1]}"


# -- tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_a_run_finds_what_it_found_before(name: str, tmp_path: Path) -> None:
    own = [golden for golden in recorded(name) if difference(golden["arithmetic"], arithmetic()) is None]
    if not own:
        pytest.skip(
            f"this machine computes otherwise than those that recorded {name}; "
            f"to have it guarded here too, record it from a sound version: {ADD} {name}"
        )
    told = difference(own[0]["found"], found(name, tmp_path))
    assert told is None, f"{name}: {told}\nIf the change is meant to do this: {RECORD} {name}"


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("evolve")])
def test_every_stage_of_a_search_is_recorded(name: str) -> None:
    for golden in kept(name):
        _has_every_stage(golden)


def _has_every_stage(golden: Json) -> None:
    assert {one["purpose"] for one in golden["scores"]} == {"rung", "proxy", "combine", "tune", "audit"}
    # Whom the surrogate chose, the simulation may accept throughout.
    assert stages(golden) | {("simulate", False)} == {
        ("verify", True),
        ("simulate", True),
        ("simulate", False),
    }
    assert {row[5] for row in golden["rejected"]} == {False}
    assert len({(one["branch"], one["generation"]) for one in golden["candidates"]}) >= 2
    assert {"verify", "proxy"} <= set(golden["counts"]["stopped"]) <= {"verify", "simulate", "proxy"}
    assert "stopped early" in golden["counts"]["stopped"]["proxy"]
    assert golden["audit"]["gain"] is not None
    # Where trainings learnt nothing, a change could not be seen.
    figures = [one["metrics"]["ap"] for one in golden["scores"]]
    assert len(set(figures)) > len(figures) / 2


def stages(golden: Json) -> set[tuple[str, bool]]:
    """What the filters said of candidates."""
    return {
        (verdict["stage"], verdict["accepted"]) for one in golden["candidates"] for verdict in one["verdicts"]
    }


def test_the_simulation_rejects_in_some_run() -> None:
    runs = [golden for name in RUNS if name.startswith("evolve") for golden in kept(name)]
    assert any(("simulate", False) in stages(golden) for golden in runs)


@pytest.mark.parametrize("space", ["am-lfs", "search-softmax", "random-softmax"])
def test_every_part_of_a_parametric_search_is_recorded(space: str) -> None:
    for golden in kept(f"reinforce-{space}"):
        _has_every_part(golden, space)


def _has_every_part(golden: Json, space: str) -> None:
    assert set(golden["baselines"]) == {"softmax", "cosface"}
    assert set(golden["searches"]) == ({"searched"} if space == "random-softmax" else {"searched", "control"})
    for runs in (*golden["baselines"].values(), *golden["searches"].values()):
        assert len(runs) == 2
        assert all(0 < run["val"] < 1 and run["test"] for run in runs)
    moved = golden["mu"]["start"] not in golden["mu"]["ends"]
    assert moved == (space != "random-softmax")
    assert golden["exported"]["theta"] in golden["mu"]["ends"]


def test_the_comparison_sees_whatever_changes() -> None:
    golden = kept("evolve-one-stage-0")[0]

    def changed(change: Callable[[Json], Any]) -> str | None:
        other = copy.deepcopy(golden)
        change(other)
        return difference(golden, other)

    assert changed(lambda run: None) is None
    before = golden["scores"][3]["metrics"]["ap"]
    after = math.nextafter(before, 1)
    told = changed(lambda run: run["scores"][3]["metrics"].update(ap=after))
    assert told == f"scores[3].metrics.ap: expected {before}, got {after}"
    assert changed(lambda run: run["scores"][0].update(seed=-1.0)) == "scores[0].seed: expected -1, got -1.0"
    told = changed(lambda run: run["candidates"][0].update(formula="X"))
    assert told == f'candidates[0].formula: expected "{golden["candidates"][0]["formula"]}", got "X"'
    told = changed(lambda run: run["audit"].pop("verdict"))
    assert told == f'audit.verdict: expected "{golden["audit"]["verdict"]}", got nothing'
    told = changed(lambda run: run["audit"].update(more=None))
    assert told == "audit.more: expected nothing, got null"
    count = len(golden["rejected"])
    told = changed(lambda run: run["rejected"].append([]))
    assert told == f"rejected: expected {count} items, got {count + 1}; rejected[{count}] is []"
    assert changed(lambda run: run["rejected"].insert(0, [])) is not None
    assert changed(lambda run: run["scores"].reverse()) is not None


def test_a_golden_file_reads_as_it_was_written() -> None:
    for name in RUNS:
        assert recorded(name)
        for file, document in zip(files(name), recorded(name), strict=True):
            assert difference(document, json.loads(_text(document))) is None
            assert file.parent.name == document["arithmetic"]["digest"][:8]
    assert {path.stem for path in FOLDER.glob("*/*.json")} == set(RUNS)


def test_the_arithmetic_does_not_depend_on_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = arithmetic.__wrapped__()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert again == arithmetic()


def main() -> None:
    """Record runs anew."""
    parser = argparse.ArgumentParser(description="Golden runs; without an option, run this file by pytest.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--record", nargs="*", choices=list(RUNS), metavar="NAME", help="the change is meant")
    what.add_argument("--add", nargs="*", choices=list(RUNS), metavar="NAME", help="for this machine too")
    asked = parser.parse_args()
    adds = asked.add is not None
    for name in (asked.add if adds else asked.record) or RUNS:
        record(name, adds)
        print(f"recorded {name}")


if __name__ == "__main__":
    main()
