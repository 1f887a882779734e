"""`losses`: the catalogue, and which of its losses a formula is."""

from __future__ import annotations

from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, print_json


def command(
    branch: Annotated[str | None, typer.Option(help="Only the losses of this branch.")] = None,
    like: Annotated[str | None, typer.Option(help="Say which loss this formula is a multiple of.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the catalogue: losses that people use, and published ones that searches found."""
    if like is not None:
        matches = cse_autoloss.find_alike(like, branch)
        if as_json:
            print_json(
                [
                    {"name": match.entry.name, **_figures(match, "scale", "alpha", "offset")}
                    for match in matches
                ]
            )
        else:
            print("\n".join(map(str, matches)) or "this is none of the catalogue's losses")
        return
    found = cse_autoloss.list_losses(branch)
    if as_json:
        print_json([_figures(entry, "name", "branch", "title", "formula", "source") for entry in found])
    else:
        from cse_autoloss.report.table import print_catalogue

        print_catalogue(found)


def _figures(of: object, *names: str) -> dict[str, object]:
    return {name: getattr(of, name) for name in names}
