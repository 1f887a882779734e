"""The benchmark of the funnel's worth: its table from a file of lines."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "search_speedup.py"
RIGHT, WRONG = "Softplus(Mul(Sub(NY,PY),X))", "Sgdf(X)"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_speedup", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _file(path: Path, plain_ap: float) -> Path:
    def line(arm: str, kind: str, wall: float, **values: Any) -> str:
        return json.dumps({"arm": arm, "seed": 0, "kind": kind, "wall": wall, "cpu": wall / 2, **values})

    def training(arm: str, wall: float, ap: float, epochs: float = 6.0, **values: Any) -> str:
        formula = RIGHT if ap > 0.1 else WRONG
        return line(arm, "training", wall, formula=formula, status="ok", ap=ap, epochs=epochs, **values)

    path.write_text(
        "\n".join(
            [
                line("target", "target", 5, formula="bce", status="ok", ap=0.5),
                line("target", "target", 9, formula="focal", status="ok", ap=0.6),
                training("plain", 400, 0.06),
                training("plain", 900, plain_ap),
                line("plain", "end", 900, reason="cap"),
                training("full", 10, 0.7, 1.0, first=False),
                training("full", 20, 0.55, 5.0, first=True),
                training("full", 30, 0.65, first=True),
                line("full", "end", 30, reason="goal"),
            ]
        )
    )
    return path


def test_an_arm_that_did_not_arrive_gives_a_lower_bound(benchmark: ModuleType, tmp_path: Path) -> None:
    text = benchmark.table(_file(tmp_path / "lines", 0.06))
    bce, focal, best, beyond = text.split("### ")[1:]
    assert "| plain evolution | > 900 | > 450 | > 2 | > 2 | 1 | 1 |" in bce
    # Half-way scores, and further seeds, do not count; what a paused training costs does.
    assert "| full search | 20 | 10 | 2 | 1 | ≥ 45.0 | ≥ 45.0 |" in bce
    assert "| full search | 30 | 15 | 3 | 2 | ≥ 30.0 | ≥ 30.0 |" in focal
    assert "(AP 60.00)" in best
    assert "(AP 62.00)" in beyond
    assert "random search" not in text
    assert f"| plain evolution | 0 | 1 | 0 | 0 | 0 | 6.00 | `{WRONG}` |" in text
    assert f"| full search | 0 | 1 | 1 | 0 | 1 | 70.00 | `{RIGHT}` |" in text


def test_ratios_of_arms_that_arrived(benchmark: ModuleType, tmp_path: Path) -> None:
    bce, focal, *_ = benchmark.table(_file(tmp_path / "lines", 0.55)).split("### ")[1:]
    assert "| full search | 20 | 10 | 2 | 1 | 45.0 | 45.0 |" in bce
    assert "≥ 30.0" in focal
    assert "| plain evolution | 900 | 450 | 2 | 2 | 1 | 1 |" in bce


def test_an_arm_needs_its_targets_first(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="targets"):
        benchmark.known_targets(tmp_path / "nothing", 0)
