"""From the name of an image in an annotation file to the file on this disk.

Names come from other machines: with Windows' backslashes, whole paths of the machine they were made on, `.jpg` for
`.JPG`, accents in the other of Unicode's two forms. A data set is outside data: its names never reach files that lie
outside its folders. Links that the user made in these folders are followed.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from cse_autoloss.errors import shorten
from cse_autoloss.tasks.photographs.faults import BadItem


class ImageFinder:
    """Finds images below some folders; the first folder that has a name wins."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._listed = cache(_listing)

    def find(self, name: str) -> Path:
        """The file of that name.

        Raises:
            BadItem: there is none.
        """
        parts = _parts(name)
        for first in range(len(parts)):
            for folder in self._folders:
                path = folder.joinpath(*parts[first:])
                if is_file(path):
                    return path
        for first in range(len(parts)):
            for folder in self._folders:
                close = self._alike(folder, parts[first:])
                if close is not None:
                    return close
        where = " or ".join(str(folder) for folder in self._folders[:3]) or "the folder"
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            raise BadItem("image elsewhere", f"file_name {shorten(name)!r} leads out of {where}")
        raise BadItem("image missing", f"image {shorten(name, 120)} does not exist in {where}")

    def _alike(self, folder: Path, parts: Sequence[str]) -> Path | None:
        """The same name but for case and Unicode's form, where there is exactly one."""
        path = folder
        for part in parts:
            found = self._listed(path).get(_key(part), ())
            if len(found) != 1:
                return None
            path = path / found[0]
        return path if is_file(path) else None


def is_file(path: Path) -> bool:
    """Whether it is one; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _parts(name: str) -> list[str]:
    """A name's parts, without what leads elsewhere: a drive, a root, `..` and all before it."""
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == ".." or part.endswith(":"):
            parts = []
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _listing(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            found[_key(name)] = (*found.get(_key(name), ()), name)
    except OSError:
        pass
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
