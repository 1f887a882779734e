"""What docs/architecture.md tells of folders and dependencies is what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import cse_autoloss

PACKAGE = Path(cse_autoloss.__file__).parent
ROOT = PACKAGE.parent
GUIDE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
IMPORTED_AS = {"pyyaml": "yaml", "scikit-learn": "sklearn", "pillow": "PIL"}


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[<>=]", wanted)[0] for wanted in project["dependencies"]]


@pytest.mark.parametrize("package", dependencies())
def test_every_dependency_is_imported_and_told_of(package: str) -> None:
    name = IMPORTED_AS.get(package, package)
    pattern = re.compile(rf"^\s*(?:import|from) {name}\b", re.MULTILINE)
    assert any(pattern.search(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py"))
    assert re.search(rf"^\|.*\b{package}\b.*\|", GUIDE, re.MULTILINE)


def test_every_folder_is_told_of() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders
    assert {folder for folder in folders if f"{folder}/" not in GUIDE} == set()


def test_every_place_that_the_guide_names_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_*]*(?:\.py)?)`", GUIDE)) - {"best/", "predictions/"}
    assert named
    gone = {name for name in named if not any((*ROOT.glob(name), *PACKAGE.glob(name)))}
    assert gone <= {"tests/test_golden.py"}
