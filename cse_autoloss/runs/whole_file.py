"""A file is there whole or not at all, also after a kill or a power cut."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_whole(path: Path, content: str | Callable[[IO[bytes]], object]) -> None:
    """Write a file in one move, and on the disk before it has its name.

    Args:
        path: of the file, whose folder is made.
        content: its text, or a function that writes into an open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[-200:]}.{os.getpid()}.tmp")
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:  # never through a link of that name
            if isinstance(content, str):
                # A folder's name may hold bytes that are no text: told as \\udc80, which JSON reads back.
                file.write(content.encode("utf-8", "backslashreplace"))
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # a folder can't be opened on every system
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_whole(path: Path) -> bool:
    """Whether a file of `torch.save`, a zip archive, is there and as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # of a damaged archive, zipfile raises nearly anything
        return False
