"""Does the model of slopes foretell proxy trainings, and does choosing by it find good losses sooner?

    python benchmarks/surrogate.py foretell     # ρ on losses that it has not seen, by how many it has
    python benchmarks/surrogate.py replay       # how many trainings until one of the table's best is found
    python benchmarks/surrogate.py memory       # writes what the package remembers
    python benchmarks/surrogate.py careless     # ρ among good losses of careless scenes, and of their further seeds
    python benchmarks/surrogate.py elsewhere    # what the careless trainings tell of losses on other data

The first three read the trainings that benchmarks/simulate_calibration.py wrote: three sets of losses with default
proxies of six epochs. `simulate_proxies_other.jsonl` has another detector. What is remembered for one set is the other
two, never itself nor a formula of it. A pick costs nothing here, as the trainings are in the table; so a replay shows
the choice alone. `careless` reads `careless_trainings.jsonl`: classification losses beside GIoU, some with several
seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from simulate_calibration import read

import cse_autoloss.surrogate
from cse_autoloss.discovery.choosing import AGREES
from cse_autoloss.discovery.learning import fits
from cse_autoloss.spaces import parse, signature_of
from cse_autoloss.surrogate import Surrogate, placed, shipped, slope_features

FILES = ("simulate_proxies.jsonl", "simulate_proxies_fresh.jsonl", "simulate_proxies_other.jsonl")
SIGNATURES = ("cls-binary", "reg")
PROGRESS = "cls-binary-progress"
LEAST = 16
"""Box losses beside one classification loss whose places are told."""
GOOD = 0.5
"""Above this AP only details are left to tell."""
Floats = NDArray[np.float64]


class Table:
    """The losses of one file and signature: features, AP, formulas."""

    def __init__(self, file: str, signature: str) -> None:
        rows = read(Path(__file__).parent / file)
        own = [r for r in rows if (r.branch, r.seed, r.epochs) == (signature, 0, 6)]
        self.formulas = [row.formula for row in own]
        self.ap = np.array([row.ap for row in own])
        self.features = slope_features([parse(formula, signature) for formula in self.formulas])


def remembered(tables: dict[str, Table], without: str) -> tuple[Floats, Floats]:
    """Features and placed worths of all tables but one, less the formulas that stand in that one too."""
    own = set(tables[without].formulas)
    others = [
        (table, np.array([formula not in own for formula in table.formulas]))
        for file, table in tables.items()
        if file != without
    ]
    features = np.vstack([table.features[new] for table, new in others])
    return features, np.concatenate([placed(table.ap)[new] for table, new in others])


def foretell(repeats: int) -> None:
    """Spearman's ρ of the losses not seen: over all, and over those that train."""
    print("| losses | set | seen | of the run alone: all, good | with what is remembered: all, good |")
    print("|---|---|---|---|---|")
    for signature in SIGNATURES:
        tables = {file: Table(file, signature) for file in FILES}
        for file, table in tables.items():
            memory = remembered(tables, file)
            for seen in (0, 8, 16, 32, 64):
                if seen > len(table.ap) - 20:
                    continue
                rho: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
                for repeat in range(repeats if seen else 1):
                    order = np.random.default_rng(repeat).permutation(len(table.ap))
                    known, rest = order[:seen], order[seen:]
                    good = rest[table.ap[rest] > GOOD]
                    for helped in (False, True) if seen else (True,):
                        model = Surrogate(table.features[known], table.ap[known], memory if helped else None)
                        told = dict(zip(rest, model.foretell(table.features[rest]), strict=True))
                        rho[helped].append(
                            tuple(
                                spearmanr([told[i] for i in part], table.ap[part])[0] for part in (rest, good)
                            )
                        )
                cells = [
                    "{:.2f}, {:.2f}".format(*np.mean(figures, axis=0)) if figures else ""
                    for figures in rho.values()
                ]
                print(f"| {signature} | {file} | {seen} | {' | '.join(cells)} |", flush=True)


def replay(repeats: int, batch: int = 8, start: int = 8) -> None:
    """Trainings until a loss among the best 5 % of the table was trained, and the regret after 24: AP of the table's
    best less that of the best found."""
    print("| losses | set | choice | trainings to the best 5 % | regret after 24, AP points |")
    print("|---|---|---|---|---|")
    for signature in SIGNATURES:
        tables = {file: Table(file, signature) for file in FILES[:2]}
        for file, table in tables.items():
            memory, ap = remembered(tables, file), table.ap
            target = np.sort(ap)[-max(1, round(len(ap) / 20))]
            for name, prior in (("random", None), ("learnt", None), ("learnt and remembered", memory)):
                took, regret = [], []
                for repeat in range(repeats):
                    rng = np.random.default_rng(repeat)
                    done = [] if prior else [int(i) for i in rng.permutation(len(ap))[:start]]
                    while len(done) < len(ap):
                        rest = np.setdiff1d(np.arange(len(ap)), done)
                        if name == "random":
                            picks = rng.permutation(rest)[:batch]
                        else:
                            model = Surrogate(table.features[done], ap[done], prior)
                            picks = rest[model.order(table.features[rest], batch, rng)[:batch]]
                        done += [int(i) for i in picks]
                        if (ap[done] >= target).any() and len(done) >= 24:
                            break
                    took.append(int(np.argmax(ap[done] >= target)) + 1)
                    regret.append(100 * (ap.max() - ap[done[:24]].max()))
                print(
                    f"| {signature} | {file} | {name} | {np.mean(took):.1f} ± {np.std(took) / repeats**0.5:.1f}"
                    f" | {np.mean(regret):.2f} ± {np.std(regret) / repeats**0.5:.2f} |",
                    flush=True,
                )


def careless(repeats: int) -> None:
    """ρ on losses not seen, among the better half and among the 30 % that the model likes best; then what says best how
    a loss's other seeds come out: its first, the model without it, or the model with its first."""
    text = (Path(__file__).parent / "careless_trainings.jsonl").read_text(encoding="utf-8")
    scores: dict[str, list[float]] = {}
    for row in map(json.loads, text.splitlines()):
        if row["reg"] == "giou" and row["status"] == "ok":
            scores.setdefault(row["cls"], []).append(100 * row["ap"])
    signature = signature_of("cls-binary-progress")
    features = slope_features([parse(formula, signature) for formula in scores])
    first = np.array([own[0] for own in scores.values()])
    print(
        f"{len(first)} losses\n\n| seen | better half | its best 30 % | mean AP of its best ten |\n|---|---|---|---|"
    )
    for seen in (40, 80, 160):
        told = []
        for repeat in range(repeats):
            order = np.random.default_rng(repeat).permutation(len(first))
            known, rest = order[:seen], order[seen:]
            guess = Surrogate(features[known], first[known]).foretell(features[rest])
            ranking, ap = np.argsort(-guess), first[rest]
            half, liked = ap > np.median(first), ranking[: round(0.3 * len(rest))]
            told.append(
                (
                    spearmanr(guess[half], ap[half])[0],
                    spearmanr(guess[liked], ap[liked])[0],
                    ap[ranking[:10]].mean(),
                )
            )
        print(f"| {seen} | {' | '.join(f'{value:.2f}' for value in np.mean(told, axis=0))} |", flush=True)
    several = [i for i, own in enumerate(scores.values()) if len(own) > 1 and own[0] > np.median(first)]
    later = np.array(
        [np.mean(own[1:]) for own in scores.values() if len(own) > 1 and own[0] > np.median(first)]
    )
    with_it = Surrogate(features, first).expected(features[several])
    folds = np.arange(len(first)) % 20
    without = np.empty(len(first))
    for fold in range(20):
        model = Surrogate(features[folds != fold], first[folds != fold])
        without[folds == fold] = model.expected(features[folds == fold])
    print(f"\n{len(several)} losses of the better half with further seeds: ρ of their mean with")
    for name, guess in (("the first seed", first[several]), ("the model, without it", without[several]),
                        ("the model, with the first seed", with_it)):  # fmt: skip
        print(f"  {name}: {spearmanr(guess, later)[0]:.2f}")


def careless_memory(signature: str, without: Iterable[str]) -> tuple[Floats, Floats]:
    """Features and placed worths of what was trained on careless scenes and can be written so: classification losses
    beside GIoU; box losses by their places among those beside the same classification loss."""
    slot, beside = ("reg", "cls") if signature.startswith("reg") else ("cls", "reg")
    scores: dict[str, dict[str, list[float]]] = {}
    for row in _lines("careless_trainings.jsonl"):
        if row["status"] == "ok":
            scores.setdefault(row[beside], {}).setdefault(row[slot], []).append(row["ap"])
    places: dict[str, list[float]] = {}
    for partner, own in scores.items():
        if partner == "giou" or (slot == "reg" and len(own) >= LEAST):
            placed_ones = placed(np.array([np.mean(ap) for ap in own.values()]))
            for formula, place in zip(own, placed_ones, strict=True):
                places.setdefault(formula, []).append(float(place))
    left_out = set(without)
    read = signature_of(signature)
    known = {f: float(np.mean(own)) for f, own in places.items() if f not in left_out and fits(f, read)}
    return slope_features([parse(f, signature) for f in known]), np.array(list(known.values()))


def elsewhere(repeats: int) -> None:
    """ρ on losses of other data that were not seen, over all and over the better half: of the run alone, with what is
    remembered, and where it is believed by its agreement with the run's trainings alone, or by today's rule; and in how
    many orders it is. Formulas at hand are never remembered.
    """
    heads = ("data", "losses", "remembered", "seen", "the run alone", "with it", "by agreement", "today")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    rows = [row for row in _lines("other_data.jsonl") if row["status"] == "ok"]
    for signature in SIGNATURES:
        tables = {file: Table(file, signature) for file in FILES}
        for file, table in tables.items():
            for name, memory in (("careless", careless_memory(signature, table.formulas)),
                                 ("the other two", remembered(tables, file))):  # fmt: skip
                _elsewhere(f"{file} | {signature} | {name}", table.features, table.ap, memory, repeats)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        formulas, ap = [row["cls"] for row in own], np.array([row["ap"] for row in own])
        features = slope_features([parse(formula, PROGRESS) for formula in formulas])
        clean = [one for one in shipped() if one.formula not in formulas and one.signature == SIGNATURES[0]]
        places = np.array([one.place for one in clean])
        shown = slope_features([parse(one.formula, PROGRESS) for one in clean])
        for name, memory in (("careless", careless_memory(PROGRESS, formulas)), ("clean", (shown, places))):
            _elsewhere(f"{kind} | {PROGRESS} | {name}", features, ap, memory, repeats)


def _elsewhere(name: str, features: Floats, ap: Floats, memory: tuple[Floats, Floats], repeats: int) -> None:
    before = Surrogate(features[:0], ap[:0], memory).foretell(features)
    for seen in (16, 32):
        if seen > len(ap) - 8:
            continue
        told, agreed, helped = [], 0, 0
        for repeat in range(repeats):
            order = np.random.default_rng(repeat).permutation(len(ap))
            known, rest = order[:seen], order[seen:]
            parts = (rest, rest[ap[rest] >= np.median(ap)])
            alone = Surrogate(features[known], ap[known])
            both = Surrogate(features[known], ap[known], memory)
            agrees = spearmanr(before[known], ap[known])[0] >= AGREES
            helps = agrees and both.left_out() >= alone.left_out()
            agreed, helped = agreed + bool(agrees), helped + bool(helps)
            rho = [
                [spearmanr(one.foretell(features[part]), ap[part])[0] for part in parts]
                for one in (alone, both)
            ]
            told.append([*rho, rho[bool(agrees)], rho[bool(helps)]])
        one, two, three, four = ("{:.2f}, {:.2f}".format(*pair) for pair in np.mean(told, axis=0))
        print(
            f"| {name} ({len(memory[1])}) | {seen} | {one} | {two} | {three} ({agreed} of {repeats})"
            f" | {four} ({helped}) |",
            flush=True,
        )


def _lines(file: str) -> list[dict[str, Any]]:
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def write_memory() -> None:
    """All tables, with places among their own, into the package."""
    lines = []
    for signature in SIGNATURES:
        for file in FILES:
            table = Table(file, signature)
            for formula, place in zip(table.formulas, placed(table.ap), strict=True):
                row = {
                    "task": "detection",
                    "data": "digits",
                    "signature": signature,
                    "formula": formula,
                    "place": round(place, 4),
                }
                lines.append(json.dumps(row))
    target = Path(cse_autoloss.surrogate.__file__).parent / "known_scores.jsonl"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} losses, {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """One of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("foretell", "replay", "memory", "careless", "elsewhere"))
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.what == "memory":
        write_memory()
    else:
        steps = {"foretell": foretell, "replay": replay, "careless": careless, "elsewhere": elsewhere}
        steps[arguments.what](arguments.repeats)


if __name__ == "__main__":
    main()
