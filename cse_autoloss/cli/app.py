"""The program: its commands, and what becomes of errors. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cse_autoloss._version import __version__
from cse_autoloss.cli import (
    audit,
    certify,
    compare,
    data,
    evolve,
    explain,
    export,
    losses,
    predict,
    reinforce,
    render,
    simulate,
    train,
    verify,
)
from cse_autoloss.errors import AutoLossError, printable, shorten

app = typer.Typer(
    name="cse-autoloss",
    help="Discovers loss functions, proves them on held-out data and exports them to plain torch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    *(evolve, reinforce, compare, audit, predict, train, data),
    *(verify, certify, simulate, losses, render, export, explain),
):
    app.command(module.__name__.rpartition(".")[2])(module.command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cse-autoloss {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; `--debug` shows the traceback."""
    debug = "--debug" in sys.argv
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except AutoLossError as error:
        if debug:
            raise
        _end(str(error))
    except OSError as error:
        # A file that can't be opened or made: no rights, no space, a name that is too long.
        if debug or error.filename is None:
            raise
        _end(f"{shorten(str(error.filename))}: {error.strerror}")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # What typer says of an option it does not know quotes the option.
        if not hasattr(error, "format_message"):
            raise
        error.message = "\n".join(printable(line) for line in error.message.splitlines())  # type: ignore[attr-defined]
        error.show()  # type: ignore[attr-defined]
        sys.exit(error.exit_code)  # type: ignore[attr-defined]


def _end(message: str) -> None:
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
