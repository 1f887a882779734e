"""Tables to regress on: scikit-learn's diabetes data, or a CSV file; split by a seed, with outliers put into train."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError, UnknownNameError, printable, shorten

MOST_BYTES = 1 << 30
FEWEST_ROWS = 20


@dataclass(frozen=True)
class Table:
    """N rows of numbers, and what is to be predicted of each.

    Attributes:
        features: (N, D) float64.
        target: (N,) float64.
        notes: on what of the file was left out.
    """

    features: NDArray[np.float64]
    target: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: NDArray[np.int64]) -> Table:
        """The rows at `index`."""
        return Table(self.features[index], self.target[index])


class Sheet(NamedTuple):
    """A file's columns by name, each further line that is not empty with its number, and notes on what is left out."""

    names: list[str]
    rows: list[tuple[int, list[str]]]
    notes: tuple[str, ...] = ()


def diabetes() -> Table:
    """442 patients, 10 measurements each, and the disease's progression after a year (Efron et al., 2004)."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes()
    return Table(found.data.astype(np.float64), found.target.astype(np.float64))


def read_csv(path: Path, target: str | None) -> Table:
    """A table of a file in UTF-8 with a line of names and then numbers alone, separated by commas, or else by
    semicolons or tabs.

    A column without a name is none of the data: rows' numbers in the first, as pandas writes its index, are left out
    with a note, and so is a last one without values, as a separator at each line's end makes it.

    Args:
        path: of the file.
        target: name of the column to predict.

    Raises:
        DataError: in one line, with the line in the file where one is at fault.
        UnknownNameError: there is no such column.
    """
    names, rows, notes = read_rows(path)
    if target is None:
        raise DataError(
            f"{path}: say by target which column is predicted; there are {shorten(', '.join(names))}"
        )
    if target not in names:
        raise UnknownNameError.of(f"target: column of {path}", target, names)
    if names.count(target) > 1:
        raise DataError(f"{path}: {names.count(target)} columns are called {shorten(target)!r}")
    if len(names) < 2:
        raise DataError(f"{path}: {names[0]!r} is the only column, so there is nothing to predict it from")
    values = np.array([_numbers(path, number, row, names) for number, row in rows], dtype=np.float64)
    if len(values) < FEWEST_ROWS:
        raise DataError(f"{path}: {len(values)} rows; {FEWEST_ROWS} are needed")
    column = names.index(target)
    return Table(np.delete(values, column, axis=1), values[:, column], notes)


def read_rows(path: Path) -> Sheet:
    """The file as text; errors as of `read_csv`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: larger than {MOST_BYTES >> 30} GiB")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            bare = re.sub(r'"[^"]*"', "", stream.readline())  # a name in quotes may hold any sign
            sign = next((one for one in ",;\t" if one in bare), ",")
            stream.seek(0)
            rows = [(number, row) for number, row in enumerate(csv.reader(stream, delimiter=sign), 1) if row]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:  # ValueError: its bytes, or a name that no file can have
        told = printable(shorten(str(path), 200))
        raise DataError(f"{told}: not a CSV file in UTF-8: {shorten(str(error), 80)}") from None
    if not rows:
        raise DataError(f"{path}: the file is empty")
    names = [name.strip() for name in rows[0][1]]
    if _are_values(names):
        first = shorten(sign.join(names))
        raise DataError(f"{path}: the first line, {first}, holds numbers; expected the columns' names there")
    return _without_unnamed(path, Sheet(names, rows[1:]))


def _are_values(names: list[str]) -> bool:
    """Whether a first line is one of data; whole numbers, all different, are names: 0, 1, 2 or years."""
    try:
        list(map(float, names))
    except ValueError:
        return False
    return len(set(names)) < len(names) or not all(name.isdecimal() for name in names)


def _without_unnamed(path: Path, sheet: Sheet) -> Sheet:
    """Without a last column that has neither name nor values, and without rows' numbers in an unnamed first one."""
    names, rows, _ = sheet
    kept = len(names) - 1
    if kept and not names[-1] and not any("".join(row[kept:]).strip() for _, row in rows):
        return _without_unnamed(path, Sheet(names[:kept], [(number, row[:kept]) for number, row in rows]))
    firsts = [row[0].strip() for _, row in rows]
    counts = all(first.isdecimal() for first in firsts) and len(set(firsts)) == len(firsts)
    if len(names) > 2 and names[0] in ("", "Unnamed: 0") and counts:
        note = f"{path}: the first column has no name and numbers the rows; it is left out"
        return Sheet(names[1:], [(number, row[1:]) for number, row in rows], (note,))
    return sheet


def _numbers(path: Path, number: int, row: list[str], names: list[str]) -> list[float]:
    if len(row) != len(names):
        raise DataError(f"{path}:{number}: {len(row)} values, but there are {len(names)} columns")
    found = []
    for name, text in zip(names, row, strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{path}:{number}: {name}: expected a number, got {shorten(text)!r}")
        found.append(value)
    return found


def split_table(
    table: Table, seed: int, val_share: float, test_share: float, where: str = "the table"
) -> dict[str, Table]:
    """Train, val and test, drawn by the seed; DataError, of a table named `where`, where one is too small to learn from
    or to score on."""
    order = np.random.default_rng(derived_seed("table", seed)).permutation(len(table))
    test, val = (round(share * len(table)) for share in (test_share, val_share))
    parts = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    for name, part in parts.items():
        if len(part) < 2:
            raise DataError(
                f"{where}: the {name} split has {len(part)} of the table's {len(table)} rows; 2 are needed"
            )
    if not np.ptp(table.target[parts["train"]]):
        raise DataError(f"{where}: all targets to train on are the same number")
    return {name: table.take(part) for name, part in parts.items()}


def repeated_rows(table: Table) -> Iterator[str]:
    """A warning where rows stand in a table more than once, features and target alike: splits by chance part copies."""
    whole = np.column_stack((table.features, table.target)) + 0.0  # no -0
    known = {row.tobytes() for row in whole}
    if len(known) < len(whole):
        yield (
            f"warning: {len(whole) - len(known)} of the {len(whole)} rows stand in the table already; copies fall into "
            "several splits, and scores then tell less than they seem to"
        )


def with_outliers(table: Table, share: float, size: float, both: bool, seed: int) -> Table:
    """round(share·N) targets, drawn without replacement, are moved by size/2 to size deviations of the targets.

    Args:
        table: to train on.
        share: of the rows.
        size: the most that a target is moved by, in deviations.
        both: up or down by a coin's toss, rather than always up.
        seed: of the draws.
    """
    source = np.random.default_rng(derived_seed("outliers", seed))
    which = source.permutation(len(table))[: round(share * len(table))]
    moved = source.uniform(0.5 * size, size, len(which)) * table.target.std()
    sign = source.choice((-1.0, 1.0), len(which)) if both else 1.0
    target = table.target.copy()
    target[which] += sign * moved
    return Table(table.features, target)
