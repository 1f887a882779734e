"""Hostile formulas, loss files, settings and data sets: each is right or refused in words, and nothing else.

    python benchmarks/fuzz.py [--formulas 1000000] [--files 25000] [--bred 5000] [--seed 0] [--write FILE.md]

Each text is a sound one with one to six random changes: bytes, repeats, deep nesting, parts of others, numbers beyond a
float, tags, lone surrogates, NUL. "Bred" are formulas that mostly do parse: terms of sound ones in each other's places,
long chains, extreme numbers; each goes the whole way: verified, made a module, Python that compiles, LaTeX, JSON and
back, one in 40 drawn. "Refused" is an AutoLossError with a message of less than 5,000 characters;
anything else that is raised is a traceback, and the first of each kind is printed. Memory is Python's, at its peak over
that before, looked at in one of a hundred.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export.draw import draw
from cse_autoloss.export.json_form import to_json
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.torch_source import torch_source
from cse_autoloss.graph import parse_formula
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.load import parse_loss_json
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.operators import OPERATORS
from cse_autoloss.settings.load import dump, load_config, parse_config
from cse_autoloss.settings.plain_yaml import parse_yaml
from cse_autoloss.spaces.signatures import BUILT_IN, SIGNATURES
from cse_autoloss.tasks.photographs.coco_json import read_coco
from cse_autoloss.tasks.photographs.names import ImageFinder
from cse_autoloss.verification import verify_population

MOST_SECONDS, MOST_MEGABYTES, MOST_MESSAGE = 2.0, 200.0, 5000
PIECES = (
    *(
        '"',
        "'",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        ":",
        ": ",
        "\n",
        "\t",
        "- ",
        "#",
        "&a ",
        "*a",
        "<<",
        "|",
        ">",
        "%",
    ),
    *(
        "!!bool x",
        "!!timestamp x",
        "!!set [a]",
        "!!python/object:os.system ls",
        "!!binary x",
        "!!float y",
        "!x y",
    ),
    *("null", "true", "NaN", "Infinity", "-Infinity", "1e999", "-1e400", "0x10", "1_0", ".5", "-", "1e-400"),
    *(
        "9" * 401,
        "9" * 5001,
        "\0",
        "\x1b[2J",
        "\ud800",
        "\ufeff",
        "\u202e",
        "é" * 50,
        "a" * 300,
        "(" * 200,
        "[" * 60,
    ),
    *(
        "Exp(" * 120,
        "Add(x,",
        "Log(Sigmoid(x))",
        "__import__('os')",
        "\\ud800",
        "\\u0000",
        "../" * 40,
        "{}" * 20,
    ),
)
EXTREMES = (
    "0",
    "1",
    "-1",
    "-0.0",
    "1e308",
    "-1e308",
    "1e-320",
    "1e-20",
    "1e20",
    "0.5",
    "3.7",
    "999999999999",
)
ONE, TWO = ([name for name, one in OPERATORS.items() if one.arity == arity] for arity in (1, 2))
MOST_BRED = 4000
"""Characters of a formula that is bred on."""


@dataclass
class Tally:
    """What became of the texts of one kind."""

    kind: str
    tried: int = 0
    right: int = 0
    refused: int = 0
    slowest: float = 0.0
    megabytes: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    bad: int = 0

    def row(self) -> str:
        """Of the table."""
        figures = f"{self.tried:,} | {self.right:,} | {self.refused:,} | {self.bad}"
        return f"| {self.kind} | {figures} | {self.slowest:.2f} s | {self.megabytes:.0f} MB |"


def mutated(text: str, others: list[str], rng: random.Random) -> str:
    """The text with one to six random changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randint(0, len(text))
        end = min(len(text), at + rng.choice((0, 1, 1, 2, 5, 20)))
        match rng.randrange(6):
            case 0:
                new = rng.choice(PIECES)
            case 1:
                new = chr(rng.choice((rng.randrange(128), rng.randrange(0x11000), 0xDC80)))
            case 2:
                other = rng.choice(others)
                start = rng.randint(0, len(other))
                new = other[start : start + rng.randint(1, 60)]
            case 3:
                new = text[at:end] * rng.choice((2, 3, 30))
            case 4:
                new = str(rng.choice((0, -1, 10**400, 2**63, 2**31, 1e308)))
            case _:
                new = ""
        text = text[:at] + new + text[end:]
    return text


def terms(formula: str) -> list[tuple[int, int]]:
    """From where to where each term of a formula reaches, names of operators left out."""
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    begun = 0
    for word in re.finditer(r"[^(),\s]+|[(),]", formula):
        if word.group() == "(":
            opened.append(begun)
        elif word.group() == ")":
            found += [(opened.pop(), word.end())] if opened else []
        elif word.group() != ",":
            begun = word.start()
            if formula[word.end() : word.end() + 1] != "(":
                found.append((begun, word.end()))
    return found


def bred(text: str, others: list[str], rng: random.Random) -> str:
    """The formula, behind its signature and a colon, with up to twelve terms changed for others."""
    kind, _, formula = text.partition(":")
    own = [other.partition(":")[2] for other in others if other.startswith(f"{kind}:")]
    for _ in range(rng.choice((1, 1, 2, 3, 6, 12))):
        here = terms(formula)
        if not here or len(formula) > MOST_BRED:
            break
        start, end = rng.choice(here)
        first, last = rng.choice(here)
        match rng.randrange(5):
            case 0:
                new = rng.choice(EXTREMES)
            case 1:
                other = rng.choice(own)
                begin, until = rng.choice(terms(other))
                new = other[begin:until]
            case 2:
                name, times = rng.choice(ONE), rng.choice((1, 1, 2, 3, 40))
                new = f"{name}(" * times + formula[start:end] + ")" * times
            case 3:
                new = f"{rng.choice(TWO)}({formula[start:end]}, {formula[first:last]})"
            case _:
                new = formula[first:last]
        formula = formula[:start] + new + formula[end:]
    return f"{kind}:{formula}"


def whole_way(text: str, drawing: Path | None) -> None:
    """All that is made of a formula that parses; an AssertionError where it is not the same after a round."""
    kind, _, formula = text.partition(":")
    graph = parse_formula(formula, SIGNATURES[kind])
    again = parse_loss_json(json.dumps(to_json(graph))).graph
    assert parse_formula(graph.formula, graph.signature).formula == graph.formula == again.formula
    verify_population([graph])
    GraphLoss(graph)
    compile(torch_source(graph), "loss.py", "exec")
    to_latex(graph)
    if drawing is not None:
        draw(graph, drawing)


def tell(tally: Tally, read: Callable[[str], Any], text: str, look: bool) -> None:
    """Read one text, and book what came of it."""
    tally.tried += 1
    if look:
        tracemalloc.start()
    begun = time.process_time()
    try:
        read(text)
        tally.right += 1
    except AutoLossError as error:
        tally.refused += 1
        if len(str(error)) > MOST_MESSAGE:
            _fault(tally, f"a message of {len(str(error))} characters", text)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        _fault(tally, f"{type(error).__name__}: {str(error)[:100]}", text)
    took = time.process_time() - begun
    if not look:  # memory that is watched makes everything slower
        tally.slowest = max(tally.slowest, took)
        if took > MOST_SECONDS:
            _fault(tally, f"slower than {MOST_SECONDS:g} s: {took:.2f} s", text)
    else:
        tally.megabytes = max(tally.megabytes, tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        if tally.megabytes > MOST_MEGABYTES:
            _fault(tally, f"more than {MOST_MEGABYTES:g} MB", text)


def _fault(tally: Tally, what: str, text: str) -> None:
    tally.bad += 1
    tally.faults.setdefault(what, text)


Kind = tuple[list[str], Callable[[str], Any], Callable[[str, list[str], random.Random], str]]


def kinds(folder: Path) -> dict[str, Kind]:
    """Kind of input -> sound examples, what reads them, and what makes hostile ones of them."""
    graphs = [loss.graph for entry in CATALOGUE.values() if isinstance(loss := entry.make(), GraphLoss)]
    formulas = [graph.formula for graph in graphs]
    losses = [
        json.dumps(
            {"format": 1, "signature": g.signature.name, "formula": g.formula, "provenance": {"a": [1.5]}}
        )
        for g in graphs
    ]
    losses += [
        json.dumps({"format": 1, "signature": g.signature.to_dict(), "formula": g.formula})
        for g in graphs[:3]
    ]
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    small = "budget: 20m\nseed: 3\nevolution:\n  population: 20\n  init_depth: [2, 5]\n"
    small += "audit:\n  ranges: {lr: [0.5, 1.0]}\n"
    finder = ImageFinder([folder])

    def read_formula(text: str) -> None:
        for signature in BUILT_IN[:1]:
            parse_formula(text, signature)

    def read_file(text: str) -> None:
        (folder / "t.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        read_coco(folder / "t.json", finder)

    turns = itertools.count()
    draw(graphs[0], folder / "t.svg")  # the first one imports the library that draws

    def read_bred(text: str) -> None:
        whole_way(text, folder / "t.svg" if next(turns) % 40 == 0 else None)

    return {
        "formulas": (formulas, read_formula, mutated),
        "formulas, bred": ([f"{g.signature.name}:{g.formula}" for g in graphs], read_bred, bred),
        "formulas and names of `load_loss`": (formulas + list(CATALOGUE), load_loss, mutated),
        "loss files": (losses, parse_loss_json, mutated),
        "settings": (
            [small, dump(load_config("smoke"))],
            lambda text: parse_config(parse_yaml(text, "a.yaml")),
            mutated,
        ),
        "COCO files": ([json.dumps(coco)], read_file, mutated),
    }


def run(formulas: int, files: int, seed: int, bred: int = 0) -> list[Tally]:
    """Every kind, so many texts each."""
    torch.set_num_threads(1)
    tallies = []
    with tempfile.TemporaryDirectory() as folder:
        counts = {"formulas": formulas, "formulas, bred": bred}
        for kind, (sound, read, change) in kinds(Path(folder)).items():
            rng, tally = random.Random(f"{seed} {kind}"), Tally(kind)
            for number in range(counts.get(kind, files)):
                tell(tally, read, change(rng.choice(sound), sound, rng), look=number % 100 == 0)
            tallies.append(tally)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--formulas", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=25_000, help="of each kind")
    parser.add_argument("--bred", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    tallies = run(options.formulas, options.files, options.seed, options.bred)
    head = (
        "| what | tried | right | refused | other | slowest | largest memory |\n|---|---|---|---|---|---|---|"
    )
    table = "\n".join([head, *(tally.row() for tally in tallies)])
    print(table)
    for tally in tallies:
        for what, text in tally.faults.items():
            print(f"{tally.kind}: {what}: {ascii(text)[:300]}", file=sys.stderr)
    if options.write:
        counts = f"--formulas {options.formulas} --files {options.files} --bred {options.bred}"
        command = f"python benchmarks/fuzz.py {counts} --seed {options.seed}"
        options.write.write_text(f"# Hostile inputs\n\n`{command}`\n\n{table}\n", encoding="utf-8")
    sys.exit(any(tally.bad for tally in tallies))


if __name__ == "__main__":
    main()
