"""A digest of data files, by which a resumed run knows that its data are still those that it began with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_END = 1 << 16
"""Bytes read of each end of a file: nearly all of a photograph, and of a large file what changes with its records."""


def digest_of(*places: Path) -> str:
    """Of the names, sizes and both ends of all files in folders, and of files; places that are not there count as such.

    Where the folders lie and when the files were written does not matter, so that data may be moved.
    """
    found = hashlib.sha256()
    for place in places:
        for path in _files(place):
            name = path.relative_to(place).as_posix() if path != place else path.name
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                head = stream.read(_END)
                stream.seek(max(len(head), size - _END))
                tail = stream.read(_END)
            for part in (os.fsencode(name), b"%d" % size, head, tail):
                found.update(b"%d:" % len(part) + part)
        found.update(b"|")
    return found.hexdigest()[:16]


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place] if place.is_file() else []
    walked = os.walk(place)
    return sorted(
        Path(folder, name) for folder, _, names in walked for name in names if not name.startswith(".")
    )
