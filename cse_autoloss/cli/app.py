"""The program: its commands, and what becomes of errors. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from typing import Annotated

import typer

from cse_autoloss._version import __version__
from cse_autoloss.cli import (
    certify,
    compare,
    data,
    evolve,
    explain,
    export,
    filter_audit,
    init,
    losses,
    predict,
    reinforce,
    render,
    report,
    runs,
    simulate,
    train,
    verify,
)
from cse_autoloss.cli.overview import CommandOverview
from cse_autoloss.errors import AutoLossError, printable, shorten

app = typer.Typer(
    name="cse-autoloss",
    cls=CommandOverview,
    help="Discovers loss functions, proves them on held-out data and exports them to plain torch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_PANELS = {
    "Every day": (init, data, evolve, report, runs, export),
    "Compare and look": (compare, explain, predict, losses),
    "Your loss in other places": (train, render, reinforce),
    "Inside the funnel": (verify, certify, simulate, filter_audit),
}
"""The commands, by how often they are needed."""

for panel, modules in _PANELS.items():
    for module in modules:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        app.command(name, rich_help_panel=panel)(module.command)
# What it was called once. In runs, settings and docs an audit is the one that ends a run.
app.command("audit", hidden=True)(filter_audit.command)


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


_NO_MEMORY = ("failed to map segment", "allocate memory", "start new thread", "not enough memory")
"""What libraries and torch say where a process may have no more."""


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; `--debug` shows the traceback."""
    debug = "--debug" in sys.argv
    # What torch's own modules say of each other: a user can do nothing about it.
    warnings.filterwarnings("ignore", r".torch\.jit", FutureWarning)
    for stream in (sys.stdout, sys.stderr):  # what a terminal has no sign for is no reason to lose a result
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except AutoLossError as error:
        if debug:
            raise
        _end(str(error))
    except BrokenPipeError:  # who read what is printed has had enough: `runs | head`
        _print_no_more()
        sys.exit(1)
    except OSError as error:
        # A file that can't be opened, made or written: no rights, no space, a name that is too long.
        if debug or error.errno is None:
            raise
        where = f"{shorten(str(error.filename))}: " if error.filename is not None else ""
        if error.filename is None:
            _print_no_more()
        _end(f"{where}{error.strerror}")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (MemoryError, ImportError, RuntimeError) as error:
        if debug or not (isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY)):
            raise
        _end("there is not enough memory; try --workers 1, or a larger limit (ulimit -v)")
    except SystemExit as error:  # no command of ours raises it: a user's file did
        if isinstance(error.__context__, BrokenPipeError):  # or Rich, where `| head` had read enough
            raise
        _end(f"a file of Python code ended the program: SystemExit: {error.code}")
    except Exception as error:
        # What typer says of an option it does not know quotes the option.
        if not hasattr(error, "format_message"):
            raise
        error.message = "\n".join(printable(line) for line in error.message.splitlines())  # type: ignore[attr-defined]
        error.show()  # type: ignore[attr-defined]
        sys.exit(error.exit_code)  # type: ignore[attr-defined]
    else:
        sys.exit(code)


def _print_no_more() -> None:
    """What is left to print would fail again at the program's end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(message: str) -> None:
    # Several mistakes of a configuration are lines of their own, and here one after another.
    print(f"error: {printable(message.replace(chr(10), '; '))}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
