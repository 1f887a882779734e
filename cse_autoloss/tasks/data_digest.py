"""What files hold, in short: by it a resumed run knows its data, and images that stand in two splits are found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.image_listing import files_below


def digest_of(*places: Path) -> str:
    """Of the names and the whole contents of all files in folders, and of files; places that are not there count as
    such.

    Where the folders lie and when the files were written does not matter, so that data may be moved. To read all of a
    file takes a small part of the time that it takes to decode it, which is done anyway.
    """
    found = hashlib.sha256()
    for place in places:
        for path in _files(place):
            name = os.fsencode(path.relative_to(place).as_posix() if path != place else path.name)
            found.update(b"%d:" % len(name) + name + checksum(path).encode())
        found.update(b"|")
    return found.hexdigest()[:16]


def checksum(path: Path) -> str:
    """Of a file's content.

    Raises:
        DataError: it can not be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: can not be read: {error.strerror or error}") from None


def shared_files(parts: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """`shared` for the files of some splits; only those are read whose size stands in two of them."""
    sizes = {name: [(path, path.stat().st_size) for path in paths] for name, paths in parts.items()}
    kinds = [{size for _, size in own} for own in sizes.values()]
    twice = {size for at, own in enumerate(kinds) for other in kinds[at + 1 :] for size in own & other}
    seen = {
        name: [(checksum(path) if size in twice else str(path), path.name) for path, size in own]
        for name, own in sizes.items()
    }
    yield from shared(seen)


def shared(seen: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    """A line for each pair of splits that have images in common, by what the files hold.

    Args:
        seen: split -> checksum and name of each image.
    """
    names = list(seen)
    for at, one in enumerate(names):
        known = {content for content, _ in seen[one]}
        for other in names[at + 1 :]:
            common = [name for content, name in seen[other] if content in known]
            if common:
                yield (
                    f"warning: {len(common)} of the {len(seen[other])} images of {other} stand in {one} "
                    f"too, the first: {common[0]}; scores on {other} then tell less than they seem to"
                )


def under_two_names(files: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """A warning where one image, by what its file holds, stands in two classes.

    Args:
        files: class -> its images, of all splits; only those are read whose size stands in two classes.
    """
    of_size: dict[int, dict[str, list[Path]]] = {}
    for name, paths in files.items():
        for path in paths:
            of_size.setdefault(path.stat().st_size, {}).setdefault(name, []).append(path)
    known: dict[str, str] = {}
    twice: list[tuple[Path, str]] = []
    for classes in (one for one in of_size.values() if len(one) > 1):
        for name, paths in classes.items():
            twice += [
                (path, first) for path in paths if (first := known.setdefault(checksum(path), name)) != name
            ]
    if twice:
        path, first = twice[0]
        yield (
            f"warning: {len(twice)} images stand in two classes, the first: {path.name} of {path.parent.name} in "
            f"{first} too; one of the two is wrong"
        )


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place] if place.is_file() else []
    return sorted(files_below(place))
