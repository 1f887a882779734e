"""The command line: each command parses, calls one library function and prints. Nothing heavy is imported early."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cse_autoloss._version import __version__
from cse_autoloss.cli.audit import app_command as audit_command
from cse_autoloss.cli.compare import app_command as compare_command
from cse_autoloss.cli.options import overrides
from cse_autoloss.cli.predict import app_command as predict_command
from cse_autoloss.cli.reinforce import app_command
from cse_autoloss.cli.train import app_command as train_command
from cse_autoloss.errors import AutoLossError, ConfigError, shorten

app = typer.Typer(
    name="cse-autoloss",
    help="Discovers loss functions, proves them on held-out data and exports them to plain torch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SignatureName = Annotated[str, typer.Option("--signature", help="cls-binary, cls-multiclass or reg.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Formula = Annotated[str, typer.Argument(help="Prefix notation, or a name of the catalogue.")]


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


@app.command()
def evolve(
    task: Annotated[str, typer.Option(help="What to find a loss for.")] = "detection",
    branch: Annotated[str | None, typer.Option(help="cls, reg or both.")] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, or coco:DIR with train.json and val.json.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="one-stage, two-stage, one-stage-pyramid, two-stage-pyramid, or FILE.py:NAME."),
    ] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave out faulty items and count them.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Wall time in all, as 20m or 1h30m.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations, in place of a budget.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    seed_loss: Annotated[
        list[str] | None, typer.Option(help="A loss to start from; may be repeated.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; by default one a core.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file with settings, or detection or smoke.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default a new one in runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this directory.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, as evolution.population=20; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No screen while it runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for a loss, audit it on held-out data and write everything into a run directory."""
    from cse_autoloss.discovery.launch import launch
    from cse_autoloss.report.live import watch
    from cse_autoloss.settings.load import config_for

    chosen: dict[str, Any] = {
        "branch": branch,
        "detection.data": data,
        "detection.detector": detector,
        "detection.skip_bad": skip_bad,
        "budget": budget,
        "generations": generations,
        "seed": seed,
        "seed_losses": seed_loss,
        "workers": workers,
        "device": device,
    }
    if detector is not None and config is None and resume is None:
        config = config_for(detector)
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as observer:
        directory, summary = launch(
            task, config=config, out=out, resume=resume, overrides=options, observer=observer
        )
    if as_json:
        _print_json({"directory": str(directory), **summary})
    else:
        from cse_autoloss.report.table import print_summary

        print_summary(summary, directory)


@app.command()
def verify(
    formula: Annotated[
        str | None, typer.Argument(help="Prefix notation, or a name of the catalogue.")
    ] = None,
    signature: SignatureName = "cls-binary",
    file: Annotated[
        Path | None, typer.Option(help="Formulas to verify, one a line; # starts a comment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a loss has the convergence properties of its signature. Exit code 1 where one has not."""
    from cse_autoloss.api import verify as verify_formulas

    if (formula is None) == (file is None):
        raise ConfigError("verify: give either a formula or --file")
    formulas = [formula] if formula is not None else _lines(file)
    verdicts = verify_formulas([text for text in formulas if text], signature)
    if as_json:
        _print_json([{"formula": f, **v.to_dict()} for f, v in zip(formulas, verdicts, strict=True)])
    else:
        for text, verdict in zip(formulas, verdicts, strict=True):
            print(verdict if formula is not None else f"{text}\t{verdict}")
    if not all(verdicts):
        raise typer.Exit(1)


@app.command()
def simulate(formula: Formula, signature: SignatureName = "cls-binary", as_json: AsJson = False) -> None:
    """Say whether a small model learns with the loss on one image of each category. Exit code 1 where not."""
    from cse_autoloss.api import simulate as simulate_formula

    verdict = simulate_formula(formula, signature)
    if as_json:
        _print_json({"formula": formula, **verdict.to_dict()})
    else:
        print(verdict)
    if not verdict:
        raise typer.Exit(1)


@app.command()
def render(
    formula: Formula,
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.svg, FILE.png or FILE.dot.")],
    signature: Annotated[str | None, typer.Option(help="Needed where the inputs do not tell it.")] = None,
) -> None:
    """Draw the computation graph of a loss."""
    from cse_autoloss.api import render as render_formula

    render_formula(formula, out, signature)
    print(out)


@app.command()
def export(
    source: Annotated[
        str, typer.Argument(help="A run directory, a formula, a catalogue name or a loss.json.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="FILE.py, .json, .tex, .onnx, .svg, .png or .dot.")
    ],
    signature: Annotated[str | None, typer.Option(help="Needed where the inputs do not tell it.")] = None,
) -> None:
    """Write a loss as a file that runs, or is read, without this package."""
    from cse_autoloss.api import export as export_source

    export_source(source, out, signature)
    print(out)


@app.command()
def explain(
    source: Annotated[
        str, typer.Argument(help="A catalogue name, a formula, a loss.json or a run directory.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="page.html; its pictures are put beside it.")],
    signature: Annotated[str | None, typer.Option(help="Needed where the inputs do not tell it.")] = None,
) -> None:
    """Draw a loss and its gradient beside those that people use, with its graph and the verifier's verdict."""
    from cse_autoloss.api import explain as explain_source

    for path in explain_source(source, out, signature):
        print(path)


@app.command()
def losses(
    signature: Annotated[str | None, typer.Option(help="Only the losses of this signature.")] = None,
    like: Annotated[str | None, typer.Option(help="Say which loss this formula is a multiple of.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the catalogue: losses that people use, and published ones that searches found."""
    from cse_autoloss.losses import entries

    if like is not None:
        from cse_autoloss.losses.like import like as find_like

        matches = find_like(like, signature)
        if as_json:
            _print_json(
                [
                    {"name": m.entry.name, "scale": m.scale, "alpha": m.alpha, "offset": m.offset}
                    for m in matches
                ]
            )
        else:
            print("\n".join(str(match) for match in matches) or "this is none of the catalogue's losses")
        return
    found = entries(signature)
    if as_json:
        _print_json(
            [
                {
                    "name": e.name,
                    "signature": e.signature.name,
                    "title": e.title,
                    "formula": e.formula,
                    "source": e.source,
                }
                for e in found
            ]
        )
        return
    from cse_autoloss.report.table import print_catalogue

    print_catalogue(found)


app.command("reinforce")(app_command)
app.command("audit")(audit_command)
app.command("predict")(predict_command)
app.command("train")(train_command)
app.command("compare")(compare_command)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; `--debug` shows the traceback."""
    try:
        app()
    except AutoLossError as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A file that can't be opened or made: no rights, no space, a name that is too long.
        if "--debug" in sys.argv or error.filename is None:
            raise
        print(f"error: {shorten(str(error.filename))}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _lines(path: Path | None) -> list[str]:
    from cse_autoloss.errors import DataError

    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
