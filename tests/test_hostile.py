"""Hostile texts, names and numbers: right, or refused in one bounded line. `benchmarks/fuzz.py` does it at large."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cse_autoloss
from cse_autoloss.errors import MOST_TOLD, AutoLossError, ConfigError, DataError
from cse_autoloss.export.layout import Box, Edge, layered
from cse_autoloss.graph import parse_formula
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.settings.load import load_config, parse_config
from cse_autoloss.settings.plain_yaml import MOST_BYTES, parse_yaml
from cse_autoloss.spaces.signatures import BUILT_IN
from cse_autoloss.tasks.image_files import read_folder
from cse_autoloss.tasks.tables import read_csv


def _benchmark(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_mutated_texts_are_right_or_refused() -> None:
    for tally in _benchmark("fuzz").run(formulas=300, files=60, seed=1, bred=40):
        assert not tally.faults, tally.kind
        assert tally.right
        assert tally.refused


SETTINGS = (
    *(
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!set [a]",
        "!!set [a]",
        "a: !!int x",
        "a: !!map [1]",
        "a: !x 1",
    ),
    *("budget: " + "9" * 400, "budget: " + "9" * 5000, "seed: " + "9" * 400, "simulate_limit: 1e999"),
    *(
        "proxy: {epochs: " + "9" * 400 + "}",
        "a: \0",
        "a: \ud800",
        "\ud800: 1",
        "[" * 5000,
        "- a",
        "? [a]\n: b",
    ),
    "\n".join(f"key{i}: {i}" for i in range(4000)),
    "a: " + "x" * MOST_BYTES,
)


def test_settings() -> None:
    for text in SETTINGS:
        with pytest.raises(ConfigError) as told:
            parse_config(parse_yaml(text, "a.yaml"))
        assert len(str(told.value)) <= MOST_TOLD


def test_numbers_beyond_a_float() -> None:
    for value in (10**400, -(10**400), 10**5000, float("inf"), float("nan"), True, "9" * 400):
        with pytest.raises(ConfigError):
            parse_duration(value)
        for key in ("proxy.epochs", "seed", "workers", "evolution.population"):
            with pytest.raises(ConfigError):
                load_config("smoke", {key: value})


def test_losses_of_a_wrong_type() -> None:
    wrong: tuple[Any, ...] = (None, 3, 1.5, b"bce", ["bce"], {"a": 1}, object())
    for value in wrong:
        with pytest.raises(AutoLossError):
            load_loss(value)
        with pytest.raises(AutoLossError):
            parse_formula(value, BUILT_IN[0])


def test_names_that_are_none() -> None:
    for text in ("\0", "a\0.json", "\ud800.json", "x" * 5000 + ".json", "\x1b[2J", "", "(" * 19_000):
        with pytest.raises(AutoLossError) as told:
            load_loss(text)
        assert len(str(told.value)) <= MOST_TOLD


def test_large_graphs_are_laid_out() -> None:
    """A chain, and one whose nodes use the last two: what grew with the cube once."""
    boxes = [Box(40.0, 20.0)] * 300
    chain = [Edge(i, i + 1, 0) for i in range(299)]
    assert layered(boxes, chain).crossings == 0
    assert len(layered(boxes, chain + [Edge(i, i + 2, 1) for i in range(298)]).centres) == 300


def test_a_name_that_is_no_text_and_a_terminal_that_shows_ascii_alone(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\x80 \n"
    os.mkdir(folder)
    command = [sys.executable, "-m", "cse_autoloss.cli.app", "predict", folder]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: ")
    assert ended.stderr.count(b"\n") == 1
    assert ended.stderr.isascii()


@pytest.mark.parametrize("stem", ["a\0b", "a\udcffb\0", "n" * 5000])
def test_files_that_no_name_fits_are_one_line(stem: str, tmp_path: Path) -> None:
    def refused(call: Callable[[Path], Any], suffix: str) -> None:
        with pytest.raises(AutoLossError) as told:
            call(tmp_path / f"{stem}{suffix}")
        assert len(str(told.value)) < MOST_TOLD
        assert str(told.value).isprintable()

    for suffix in (".svg", ".dot"):
        refused(lambda path: cse_autoloss.render_loss("bce", path), suffix)
    refused(lambda path: cse_autoloss.explain_loss("bce", path), ".html")
    refused(lambda path: cse_autoloss.export_loss("arcface", path), ".py")
    refused(lambda path: read_csv(path, "a"), ".csv")


def test_odd_classes_and_cells_are_one_line(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/data/\xffcat")
    with pytest.raises(DataError, match="has a name that is no Unicode"):
        read_folder(tmp_path / "data", 8)
    table = tmp_path / "t.csv"
    for cell in ("9" * 5000, "1\0", "\0"):
        table.write_text("a,b\n" + "1,2\n" * 30 + f"1,{cell}\n")
        with pytest.raises(DataError) as told:
            read_csv(table, "a")
        assert len(str(told.value)) < MOST_TOLD + len(str(tmp_path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_what_can_not_be_printed_is_one_line_or_none() -> None:
    program = f"{sys.executable} -m cse_autoloss.cli.app"
    for options, end, code, told in (
        ("--version", "> /dev/full", 2, "error: No space left on device\n"),
        ("--help", "| true", 0, ""),
    ):
        done = subprocess.run(
            f"{program} {options} {end}", shell=True, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (code, told)
