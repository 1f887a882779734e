"""What the site has besides docs/: the pages of the root, the files that pages link to, and the commands.

A page reads well in the repository itself, where its links lead to files; on the site they lead to copies of those.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import typer.cli
import typer.main
from mkdocs.structure.files import File, Files
from typer.core import TyperGroup

from cse_autoloss.cli.app import app

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
COMMANDS = "<!-- commands -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie in the root, and what pages link to outside docs/."""
    sources = [*(f"docs/{page.src_uri}" for page in files.documentation_pages()), *ROOT_PAGES.values()]
    for uri, name in ROOT_PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for name in sources:
        for path, _ in LINK.findall((ROOT / name).read_text(encoding="utf-8")):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            copy = _on_the_site(target)
            if (
                target != f"docs/{copy}"
                and (ROOT / target).is_file()
                and files.get_file_from_path(copy) is None
            ):
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **rest: Any) -> str:
    """Turn links to where their targets are on the site, and put the commands in."""
    uri = page.file.src_uri
    here = posixpath.dirname(ROOT_PAGES.get(uri, f"docs/{uri}"))

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[1]))
        if (ROOT / target).is_dir():  # a folder has no page: the code's place is told by the link's words
            return page.url
        return posixpath.relpath(_on_the_site(target), posixpath.dirname(uri) or ".") + (match[2] or "")

    return LINK.sub(turned, markdown).replace(COMMANDS, _commands())


def _on_the_site(target: str) -> str:
    """Where a file of the repository lies on the site."""
    pages = {name: uri for uri, name in ROOT_PAGES.items()} | {"README.md": "index.md"}
    return pages.get(target) or (
        target.removeprefix("docs/") if target.startswith("docs/") else f"files/{target}"
    )


def _commands() -> str:
    """A list of the commands by how often they are needed, then each with its options: from the program itself."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    whole = typer.cli.get_docs_for_click(obj=program, ctx=typer.Context(program), name="cse-autoloss")
    each = whole[whole.index("\n## ") :]
    listed: dict[str, list[str]] = {}
    for name, command in program.commands.items():
        if command.hidden:
            continue
        line = f"- [`{name}`](#cse-autoloss-{name}): {command.help}"
        listed.setdefault(command.rich_help_panel, []).append(line)  # type: ignore[attr-defined]
    return "\n".join(f"**{panel}**\n\n" + "\n".join(lines) + "\n" for panel, lines in listed.items()) + each
