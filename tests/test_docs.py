"""What README and docs/ say is so: links lead somewhere, Python blocks run, command lines are the program's.

A Python block runs, in one namespace a page, in an empty folder. Above it may stand, as a comment that readers don't
see, `<!-- given` with lines that make what it takes for granted, or `<!-- compiled: REASON -->` where it is compiled
alone.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from cse_autoloss.cli.app import app
from cse_autoloss.spaces import signatures

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / f"{n}.md" for n in ("README", "CHANGELOG", "CONTRIBUTING")),
]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)")
PYTHON = re.compile(r"(?:<!-- (given|compiled:)(.*?)-->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```(?:sh|console)\n(.*?)^```|^((?: {4}.*\n)+)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:^\s*(?:\$ )?(?:.*&& )?(?:\S*/)?cse-autoloss|-m cse_autoloss\.cli\.app) +(.*)", re.MULTILINE
)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub and the site make them of headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for path, anchor in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return PYTHON.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loss", raising=False)  # the file that a block writes and imports
    monkeypatch.setattr(
        signatures, "_registered", dict(signatures.SIGNATURES)
    )  # what a page registers goes with it
    scope: dict[str, Any] = {"__name__": page.stem}
    for kind, words, code in blocks(page):
        assert kind != "compiled:" or words.strip(), "say why it does not run"
        compiled = compile(code, named(page), "exec")
        if kind != "compiled:":
            exec(words, scope)
            exec(compiled, scope)


def command_lines(page: Path) -> list[str]:
    """Of shell blocks and indented lines, with what goes on behind a backslash."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    return [line for code in CODE.findall(text) for line in COMMAND.findall("".join(code))]


@cache
def program() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=named)
def test_command_lines_are_those_of_the_program(page: Path) -> None:
    context = typer.Context(program(), info_name="cse-autoloss")
    for line in command_lines(page):
        name, *given = shlex.split(line, comments=True)
        command = program().get_command(context, name)
        assert command is not None, line
        command.make_context(name, given, parent=context)


def test_every_page_of_figures_names_the_commit_that_they_came_with() -> None:
    for page in (ROOT / "docs" / "benchmarks").glob("*.md"):
        assert re.search(r"\bcommit [0-9a-f]{7,40}\b", page.read_text(encoding="utf-8")), page.name


def test_every_page_has_its_place_on_the_site() -> None:
    places = set(re.findall(r"\S+\.md\b", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents}
    assert pages == places - {"changelog.md", "contributing.md", "security.md"}


def test_the_drawings_are_those_of_their_script() -> None:
    before = {path: path.read_bytes() for path in (ROOT / "docs" / "images").glob("*.svg")}
    runpy.run_path(str(ROOT / "scripts" / "docs_drawings.py"), run_name="__main__")
    assert {path: path.read_bytes() for path in before} == before
