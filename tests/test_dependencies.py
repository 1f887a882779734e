"""What the package imports is declared, what is declared is imported, and docs/dependencies.md tells of all of it."""

from __future__ import annotations

import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import cse_autoloss

PACKAGE = Path(cse_autoloss.__file__).parent
ROOT = PACKAGE.parent
GUIDE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
IMPORTED_AS = {"pyyaml": "yaml", "scikit-learn": "sklearn", "pillow": "PIL"}
FOREIGN = {"mmdet", "optuna", "pytorch_metric_learning", "ultralytics"}
"""Libraries of others that an adapter imports when it is called."""

IMPORT = re.compile(r"^\s*(?:from (\w+)[\w.]* import |import (\w+)[\w.]*(?: as \w+)?(?:$|  #))", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain(wanted: list[str]) -> list[str]:
    return [re.split(r"[<>=\[]", one)[0] for one in wanted]


CORE = plain(PROJECT["dependencies"])
EXTRAS = [name for wanted in PROJECT["optional-dependencies"].values() for name in plain(wanted)]


def module(package: str) -> str:
    return IMPORTED_AS.get(package, package.replace("-", "_"))


@cache
def imports() -> dict[str, frozenset[str]]:
    """Folder -> what its files import that is neither Python's nor ours."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        roots = found.setdefault(file.relative_to(PACKAGE).parts[0], set())
        found_here = IMPORT.findall(file.read_text(encoding="utf-8"))
        roots.update(name for pair in found_here for name in pair if name)
    own = {"cse_autoloss", *sys.stdlib_module_names}
    return {folder: frozenset(roots - own) for folder, roots in found.items()}


@pytest.mark.parametrize("package", CORE)
def test_every_core_dependency_is_imported_where_the_table_says(package: str) -> None:
    (row,) = re.findall(rf"^\| {package} \|.*\| ([^|]+) \|$", GUIDE, re.MULTILINE)
    folders = re.findall(r"`(\w+)/`", row) or list(imports())
    assert all(module(package) in imports()[folder] for folder in folders if package != "torch"), row
    assert any(module(package) in imports()[folder] for folder in folders)


def test_every_import_is_declared() -> None:
    declared = {module(package) for package in (*CORE, *EXTRAS)} | FOREIGN
    assert frozenset().union(*imports().values()) <= declared


@pytest.mark.parametrize("package", EXTRAS)
def test_every_extra_is_told_of(package: str) -> None:
    assert re.search(rf"^\| `\w+` \|.*\b{package}\b.*\|", GUIDE, re.MULTILINE)


def test_every_direct_dependency_is_pinned() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()}
    assert {name.lower() for name in CORE} <= pinned
