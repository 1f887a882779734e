"""Hostile formulas, loss files, settings and data sets: each is right or refused in words, and nothing else.

    python benchmarks/fuzz.py [--formulas 1000000] [--files 100000] [--seed 0] [--write docs/benchmarks/fuzz.md]

Each text is a sound one with one to six random changes: bytes, repeats, deep nesting, parts of others, numbers beyond a
float, tags, lone surrogates, NUL. "Refused" is an AutoLossError with a message of less than 5,000 characters;
anything else that is raised is a traceback, and the first of each kind is printed. Memory is Python's, at its peak over
that before, looked at in one of a hundred.
"""

from __future__ import annotations

import argparse
import json
import random
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
from cse_autoloss.graph import parse_formula
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.load import parse_loss_json
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.settings.load import dump, load_config, parse_config
from cse_autoloss.settings.plain_yaml import parse_yaml
from cse_autoloss.spaces.signatures import BUILT_IN
from cse_autoloss.tasks.photographs.coco_json import read_coco
from cse_autoloss.tasks.photographs.names import ImageFinder

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
    tally.slowest = max(tally.slowest, took)
    if took > MOST_SECONDS:
        _fault(tally, f"slower than {MOST_SECONDS:g} s", text)
    if look:
        tally.megabytes = max(tally.megabytes, tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        if tally.megabytes > MOST_MEGABYTES:
            _fault(tally, f"more than {MOST_MEGABYTES:g} MB", text)


def _fault(tally: Tally, what: str, text: str) -> None:
    tally.bad += 1
    tally.faults.setdefault(what, text)


def kinds(folder: Path) -> dict[str, tuple[list[str], Callable[[str], Any]]]:
    """Kind of input -> sound examples, and what reads them."""
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

    return {
        "formulas": (formulas, read_formula),
        "formulas and names of `load_loss`": (formulas + list(CATALOGUE), load_loss),
        "loss files": (losses, parse_loss_json),
        "settings": (
            [small, dump(load_config("smoke"))],
            lambda text: parse_config(parse_yaml(text, "a.yaml")),
        ),
        "COCO files": ([json.dumps(coco)], read_file),
    }


def run(formulas: int, files: int, seed: int) -> list[Tally]:
    """Every kind, so many texts each."""
    torch.set_num_threads(1)
    tallies = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, (sound, read) in kinds(Path(folder)).items():
            rng, tally = random.Random(f"{seed} {kind}"), Tally(kind)
            for number in range(formulas if kind == "formulas" else files):
                tell(tally, read, mutated(rng.choice(sound), sound, rng), look=number % 100 == 0)
            tallies.append(tally)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--formulas", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=25_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    tallies = run(options.formulas, options.files, options.seed)
    head = (
        "| what | tried | right | refused | other | slowest | largest memory |\n|---|---|---|---|---|---|---|"
    )
    table = "\n".join([head, *(tally.row() for tally in tallies)])
    print(table)
    for tally in tallies:
        for what, text in tally.faults.items():
            print(f"{tally.kind}: {what}: {ascii(text)[:300]}", file=sys.stderr)
    if options.write:
        command = f"python benchmarks/fuzz.py --formulas {options.formulas} --files {options.files}"
        options.write.write_text(
            f"# Hostile inputs\n\n`{command} --seed {options.seed}`\n\n{table}\n", encoding="utf-8"
        )
    sys.exit(any(tally.bad for tally in tallies))


if __name__ == "__main__":
    main()
