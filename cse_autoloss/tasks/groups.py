"""Groups of people: who is of which, and how well each is verified by one threshold for all."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError, shorten
from cse_autoloss.tasks.verification import Floats, threshold_at_far

_HEADS = ("identity", "name", "person")


def read_groups(path: Path, people: Sequence[str]) -> dict[str, str]:
    """Identity -> group, of a file with a line `IDENTITY,GROUP` each; a first line `identity,group` is passed over.

    Args:
        path: the file.
        people: the identities that there are; others may stand in the file.

    Raises:
        DataError: names file and line; or one of the people has no group.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    groups: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = [cell.strip() for cell in next(csv.reader([line]))]
        if number == 1 and row[0].lower() in _HEADS and row[0] not in people:
            continue
        if len(row) != 2 or not all(row):
            raise DataError(f"{path}:{number}: expected IDENTITY,GROUP, got {shorten(line)!r}")
        if groups.setdefault(row[0], row[1]) != row[1]:
            raise DataError(f"{path}:{number}: {row[0]!r} is in {groups[row[0]]!r} already")
    missing = [name for name in people if name not in groups]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(people)} people have no group, the first: {missing[0]!r}"
        )
    return groups


def verified_by_group(
    similarity: Floats,
    same: NDArray[np.bool_],
    first: Sequence[str] | NDArray[np.str_],
    second: Sequence[str] | NDArray[np.str_],
    far: float,
) -> dict[str, float]:
    """ "TPR, GROUP": share of a group's true pairs accepted; "FAR, GROUP": share of its false pairs, both of the group.

    One threshold serves all groups, that of `tpr_at_far` over all pairs: people who use a system set one.

    Args:
        similarity, same: of each pair, (P,).
        first, second: the groups of its two.
        far: false accept rate over all pairs.
    """
    accepted = similarity > threshold_at_far(similarity, same, far)
    one, other = np.array(first), np.array(second)
    found: Mapping[str, NDArray[np.bool_]]
    shares: dict[str, float] = {}
    for title, kind in (("TPR", same), ("FAR", ~same)):
        found = {name: kind & (one == name) & (other == name) for name in sorted({*first, *second})}
        shares |= {
            f"{title}, {name}": float(accepted[own].mean()) for name, own in found.items() if own.any()
        }
    return shares
