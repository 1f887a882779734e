"""A run may name a file of code; only the person at the command line has it run."""

from __future__ import annotations

from pathlib import Path

import pytest

import cse_autoloss
from cse_autoloss.bench.stored import create_run, stored_config
from cse_autoloss.cli import app as program
from cse_autoloss.errors import AutoLossError, RunError
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").write_text("")
raise SystemExit(0)
"""


def _run(folder: Path, key: str, name: str) -> Path:
    """A run whose configuration names a file under a key, as somebody might send it."""
    values = load_config("smoke").model_dump(mode="json")
    *sections, last = key.split(".")
    inner = values
    for section in sections:
        inner = inner[section]
    inner[last] = name
    with create_run(folder, values) as store:
        store.set_meta("summary", {"best": None})
        store.save_state(1, {"state": {}, "counts": {}})
    return folder


@pytest.mark.parametrize("key", ["detection.detector", "task", "search"])
def test_code_that_a_run_names_is_not_run(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(EVIL)
    run = _run(tmp_path / "run", key, f"{evil}:B")
    for command in (
        ["evolve", "--resume", str(run), "--generations", "1"],
        ["reinforce", "--resume", str(run)],
        ["predict", str(run)],
        ["audit", str(run)],
        [
            "compare",
            str(run),
            "focal+giou",
            "--out",
            str(tmp_path / "other"),
            "--set",
            "detection.data=no:where",
        ],
        ["export", str(run), str(tmp_path / "loss.py")],
        ["explain", str(run), str(tmp_path / "loss.html")],
        ["train", "--loss", str(run)],
    ):
        monkeypatch.setattr("sys.argv", ["cse-autoloss", *command])
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == 2, command
        told = capsys.readouterr().err.strip()
        assert "Traceback" not in told
        if command[0] in (("evolve", "predict", "audit") if key != "search" else ("evolve",)):
            assert told.endswith(f"if you trust it, let it run by --{key.rpartition('.')[2]} {evil}:B")
            assert "\n" not in told
    assert not (tmp_path / "ran").exists()


def test_a_file_named_again_is_compared_with_the_one_that_the_run_was_made_with(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def search(config, slots, starters):\n    return None\n")
    run = _run(tmp_path / "run", "search", f"{file}:search")
    moved = file.rename(tmp_path / "moved.py")
    with RunStore.read(run) as store:
        assert stored_config(store, [f"{moved}:search"], searches=True).search == f"{moved}:search"
        moved.write_text("changed = 1\n")
        with pytest.raises(RunError, match=r"their contents differ$"):
            stored_config(store, [f"{moved}:search"], searches=True)
        with pytest.raises(RunError, match=r"let it run by --search"):
            stored_config(store, [f"{moved}:other"], searches=True)


def test_a_file_that_ends_the_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ends.py"
    file.write_text("def search(config, slots, starters):\n    raise SystemExit(0)\n")
    out = str(tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["cse-autoloss", "evolve", "--search", f"{file}:search", "--out", out])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert "SystemExit" in capsys.readouterr().err


def test_a_configuration_that_is_not_whole_starts_no_default_search(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}):
        pass
    with pytest.raises(AutoLossError, match="damaged"):
        cse_autoloss.evolve(resume=tmp_path / "run")
