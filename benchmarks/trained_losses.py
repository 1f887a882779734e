"""A table of trained losses for others to use: what searches trained on the default scenes, one line a training.

    python benchmarks/trained_losses.py collect RUN [RUN ...] --out benchmarks/careless_trainings.jsonl
    python benchmarks/trained_losses.py table --out benchmarks/careless_trainings.jsonl

`collect` takes the proxy trainings of finished runs, on validation data; a loss beside the same partner with the same
seed of the training and the data is one line, whichever runs had it. `table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def trainings(run: Path) -> list[Row]:
    """The proxy trainings of a run, to the end of their schedule."""
    with sqlite3.connect(f"file:{run / 'run.sqlite'}?mode=ro", uri=True) as store:
        config = json.loads(store.execute("SELECT value FROM meta WHERE key = 'config'").fetchone()[0])
        origins: dict[str, str] = {}
        for formula, origin in store.execute("SELECT formula, origin FROM candidates ORDER BY id"):
            origins.setdefault(formula, origin)
        rows = store.execute(
            "SELECT losses, seed, epochs, status, metrics, seconds FROM scores"
            " WHERE purpose = 'proxy' AND split = 'val' ORDER BY key"
        ).fetchall()
    found = []
    for losses, seed, epochs, status, metrics, seconds in rows:
        pair, measured = json.loads(losses), json.loads(metrics)
        origin = next(
            (origins[text] for text in pair.values() if origins.get(text, "seed") != "seed"), "seed"
        )
        found.append(
            {
                "cls": pair["cls"], "reg": pair["reg"], "origin": origin, "seed": seed, "epochs": epochs,
                "data": config["detection"]["data"], "scenes": config["detection"]["scenes"]["seed"],
                "status": status, **{name: round(value, 5) for name, value in measured.items()},
                "seconds": round(seconds, 2),
            }
        )  # fmt: skip
    return found


def collect(runs: list[Path], out: Path) -> None:
    """What the file has, and what runs add to it."""
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    known = {_key(row) for row in rows}
    for run in runs:
        for row in trainings(run):
            if _key(row) not in known:
                known.add(_key(row))
                rows.append(row)
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} trainings in {out}")


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("cls", "reg", "seed", "epochs", "data", "scenes"))


def table(out: Path) -> None:
    """Trainings, losses and scores by origin."""
    by: dict[str, list[Row]] = defaultdict(list)
    for line in out.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by[row["origin"]].append(row)
    print("| made by | trainings | pairs of losses | did not train | median AP | best tenth begins at |")
    print("|---|---:|---:|---:|---:|---:|")
    for origin, rows in sorted(by.items(), key=lambda item: -len(item[1])):
        scores = sorted(100 * row["ap"] for row in rows if row["status"] == "ok")
        pairs = len({(row["cls"], row["reg"]) for row in rows})
        last = scores[int(0.9 * len(scores))] if scores else float("nan")
        middle = statistics.median(scores) if scores else float("nan")
        failed = sum(row["status"] != "ok" for row in rows)
        print(f"| {origin} | {len(rows)} | {pairs} | {failed} | {middle:.1f} | {last:.1f} |")


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("collect", "table"))
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if asked.what == "collect":
        collect(asked.runs, asked.out)
    else:
        table(asked.out)


if __name__ == "__main__":
    main()
