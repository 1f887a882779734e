"""The notebooks of examples/ run from top to bottom, in small, and are kept without outputs.

IPython's own shell runs them in this process: a kernel for itself would spend most of its time on importing torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("first_discovery", "your_own_problem", "reading_a_run")


def cells(name: str) -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_all_are_here_and_hold_no_outputs() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NAMES)
    for name in NAMES:
        assert not [cell for cell in cells(name) if cell["outputs"] or cell["execution_count"]]


def test_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("AUTOLOSS_TINY", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in NAMES:  # in this order: the last one reads the first one's run
        shell = InteractiveShell(
            config=Config(HistoryManager={"enabled": False}), user_module=ModuleType(f"notebook_{name}")
        )
        for number, cell in enumerate(cells(name)):
            done = shell.run_cell("".join(cell["source"]))
            assert done.success, f"{name}, cell {number}: {done.error_before_exec or done.error_in_exec!r}"
        shell.restore_sys_module_state()
    monkeypatch.delitem(sys.modules, "diabetes_loss")
    assert "mean error on clean data" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.py")} == {"diabetes_loss.py", "spiral_loss.py", "small.py"}
