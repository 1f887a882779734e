"""Classes of several files brought together: by name, never by number."""

from __future__ import annotations

from collections.abc import Sequence

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs.annotations import Annotations
from cse_autoloss.tasks.photographs.faults import BadItem


def merge_names(found: Annotations) -> None:
    """Give categories of one name one id; a root of the name of one of its classes has no box, and goes."""
    first: dict[str, int] = {}
    used = _used(found)
    for number in sorted(found.categories, key=lambda n: (n not in used, n)):
        first.setdefault(found.categories[number], number)
    _rename(found, {number: first[name] for number, name in found.categories.items()})
    found.categories = {number: name for name, number in first.items()}


def learnable(train: Annotations, others: Sequence[Annotations]) -> list[int]:
    """Category ids by class index, in the order of their names: those that have a box to learn from. What the
    others have no box of either is told and left out.

    Raises:
        DataError: there is no box.
    """
    seen = sorted(_used(train), key=lambda number: train.categories[number])
    if not seen:
        raise DataError(f"{train.path}: no box to learn from{train.faults.first}")
    elsewhere = {found.categories[number] for found in others for number in _used(found)}
    empty = [n for number, n in train.categories.items() if number not in seen and n not in elsewhere]
    if empty:
        train.faults.remarks.append(
            f"no box has the category {', '.join(map(repr, sorted(empty)))}: left out"
        )
    return seen


def match_categories(found: Annotations, train: Annotations, classes: Sequence[int]) -> None:
    """Give a split the ids of train. A class that can not be learned takes its images with it.

    Raises:
        DataError: train has no box of a class, or another number for it.
    """
    by_name = {train.categories[number]: number for number in classes}
    used, bad = _used(found), set[int]()
    for number, name in found.categories.items():
        with found.faults.item(f"category {name!r} (id {number})"):
            if number not in used:
                continue
            if name not in by_name:
                bad |= {n for n, own in found.objects.items() if number in own.categories}
                known = train.categories.get(number)
                other = f" ({train.path.name} calls this id {known!r})" if known not in (None, name) else ""
                raise BadItem("unknown category", f"{train.path.name} has no box of this category{other}")
            if by_name[name] != number and found.path.suffix == ".json" and not found.faults.skip_bad:
                raise BadItem(
                    "other id",
                    f"{train.path.name} has this category as id {by_name[name]}; "
                    "--skip-bad takes it by its name",
                )
            if by_name[name] != number and found.path.suffix == ".json":
                found.faults.remarks.append(
                    f"category {name!r} is id {number} here, {by_name[name]} in train: by name"
                )
    found.leave_out(bad)
    _rename(found, {number: by_name[name] for number, name in found.categories.items() if name in by_name})
    found.categories = {number: train.categories[number] for number in classes}


def _used(found: Annotations) -> set[int]:
    return {category for own in found.objects.values() for category in own.categories}


def _rename(found: Annotations, to: dict[int, int]) -> None:
    for own in found.objects.values():
        own.categories[:] = [to[category] for category in own.categories]
