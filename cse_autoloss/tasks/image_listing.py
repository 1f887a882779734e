"""Which files of a folder are images, and which are left out: told, not passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cse_autoloss.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".pgm", ".ppm", ".webp", ".tif", ".tiff", ".gif")
SPLIT_WORDS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What people call the splits."""

_OF_SYSTEMS = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
"""What operating systems leave in folders, in lower case; names that begin with a dot are theirs as well."""


class Listing(NamedTuple):
    """Files below a folder, in the order of their names: the images, and what is none."""

    images: list[Path]
    others: list[Path]


def list_images(folder: Path) -> Listing:
    """Images of a folder and of the folders in it, links included; systems' own files are passed over.

    Nothing is opened: an image is what ends as one. A folder that does not exist has none.
    """
    found = sorted(files_below(folder))
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    return Listing(images, [path for path in found if path.suffix.lower() not in IMAGE_SUFFIXES])


def files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder and of the folders in it, links included, but for systems' own."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not is_systems(name)]
        if real in seen:  # a link back to where we have been
            continue
        seen.add(real)
        yield from (Path(place, name) for name in files if not is_systems(name))


def is_systems(name: str) -> bool:
    """Whether a file or folder of that name is an operating system's, and no data: ._x, .DS_Store, __MACOSX."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def folders_of(folder: Path) -> list[Path]:
    """The folders in a folder, by name, but for systems' own; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_systems(path.name))


def split_word(name: str) -> str | None:
    """The split that a folder of that name is of, in whatever case."""
    return next((split for split, words in SPLIT_WORDS.items() if name.lower() in words), None)


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> the folder in `folder` that is called as it, in whatever case; what is not there is left out.

    Raises:
        DataError: two folders may be one split.
    """
    found: dict[str, Path] = {}
    for split in SPLIT_WORDS:
        for path in folders_of(folder):
            if split_word(path.name) == split:
                if split in found:
                    raise DataError(f"{folder}: {found[split].name} and {path.name} may both be {split}")
                found[split] = path
    return found


def left_out(folder: Path, others: Sequence[Path]) -> tuple[str, ...]:
    """A note on files that are no images, with their number and the first; none where there are none."""
    if not others:
        return ()
    kinds = ", ".join(IMAGE_SUFFIXES)
    count = f"{len(others)} file{'s' if len(others) > 1 else ''}"
    first = others[0].relative_to(folder)
    return (f"{folder}: {count} left out, which end in none of {kinds}; the first: {first}",)
