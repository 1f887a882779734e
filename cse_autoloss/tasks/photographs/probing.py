"""Look at all images of a data set before the first step: each is decoded once, and what came out is kept.

The kept file lies in the user's cache folder; an entry holds for a file of one size, time of change and time of its
entry's change: programs that set the second one back can not set the third.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs.pixels import Picture, inspect_photograph

Progress = Callable[[int, int], None]
"""(images done, of how many)."""
FORMAT = 2
"""Raise it when the same file would be told otherwise."""


def nothing(done: int, total: int) -> None:
    """Tell nobody."""


def probe(
    paths: Sequence[Path], root: Path, cache: Path, progress: Progress = nothing
) -> dict[Path, Picture | str]:
    """What each file holds, or in a line why it can not be read.

    Args:
        paths: of images.
        root: of the data set; there is a kept file for each.
        cache: folder for the kept files.
        progress: told after each image that had to be decoded.
    """
    kept_file = cache / "images" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.json"
    kept = _load(kept_file)
    found: dict[Path, Picture | str] = {}
    stamps = {path: _stamp(path) for path in dict.fromkeys(paths)}
    unknown = []
    for path, stamp in stamps.items():
        entry = kept.get(str(path))
        if entry is not None and entry[:3] == stamp:
            found[path] = entry[3] if isinstance(entry[3], str) else Picture(*entry[3])
        else:
            unknown.append(path)
    if unknown:
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            for done, (path, result) in enumerate(zip(unknown, pool.map(_inspect, unknown), strict=True), 1):
                found[path] = result
                progress(done, len(unknown))
        finally:  # of a look that is broken off, too: the next one goes on from there
            pool.shutdown(cancel_futures=True)
            kept |= {str(path): [*stamps[path], found[path]] for path in unknown if path in found}
            _store(kept_file, kept)
    return found


def _inspect(path: Path) -> Picture | str:
    try:
        return inspect_photograph(path)
    except DataError as error:
        return str(error)


def _stamp(path: Path) -> list[int]:
    try:
        told = path.stat()
    except OSError:
        return [0, 0, 0]
    return [told.st_size, told.st_mtime_ns, told.st_ctime_ns]


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
        entries = content["images"] if content["format"] == FORMAT else {}
        return {
            name: one
            for name, one in entries.items()
            if len(one) == 4 and (isinstance(one[3], str) or len(one[3]) == len(Picture._fields))
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _store(file: Path, entries: dict[str, Any]) -> None:
    """A reader sees the old file or the new one; where nothing can be written, nothing is kept."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"format": FORMAT, "images": entries}), encoding="utf-8")
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
