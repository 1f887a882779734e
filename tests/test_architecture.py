"""What docs/architecture.md tells of folders is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import cse_autoloss

PACKAGE = Path(cse_autoloss.__file__).parent
ROOT = PACKAGE.parent
GUIDE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_folder_is_told_of() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders
    assert {folder for folder in folders if f"{folder}/" not in GUIDE} == set()


def test_every_place_that_the_guide_names_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_*]*(?:\.py)?)`", GUIDE)) - {"best/", "predictions/"}
    assert named
    gone = {name for name in named if not any((*ROOT.glob(name), *PACKAGE.glob(name)))}
    assert gone <= {"tests/test_golden.py"}
