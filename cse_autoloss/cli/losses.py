"""`losses`: the catalogue, and which of its losses a formula is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from cse_autoloss.losses import Entry


def command(
    signature: Annotated[str | None, typer.Option(help="Only the losses of this signature.")] = None,
    like: Annotated[str | None, typer.Option(help="Say which loss this formula is a multiple of.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the catalogue: losses that people use, and published ones that searches found."""
    if like is not None:
        matches = cse_autoloss.find_alike(like, signature)
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
    found = cse_autoloss.list_losses(signature)
    if as_json:
        shown = ("name", "title", "formula", "source")
        print_json([{**_figures(one, *shown), **_more(one)} for one in found])
    else:
        from cse_autoloss.report.table import print_catalogue

        print_catalogue(found)


def _more(entry: Entry) -> dict[str, object]:
    from cse_autoloss.losses import CATALOGUE

    family = CATALOGUE.families.get(entry.name)
    parameters = [asdict(one) for one in family.parameters] if family else []
    return {"signature": entry.signature.name, "parameters": parameters}


def _figures(of: object, *names: str) -> dict[str, object]:
    return {name: getattr(of, name) for name in names}
