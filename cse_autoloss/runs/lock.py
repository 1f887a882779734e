"""One process at a time writes a run: an operating-system lock, which a killed process can't leave behind."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final

from cse_autoloss.errors import RunError

# Neither through a link, which would empty what it leads to, nor waiting for somebody at a pipe's other end.
_OPEN: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class RunLock:
    """Holds `path` locked until `release`, or until the process is gone.

    The file itself stays: to remove it would let two processes lock two files of one name. Should somebody else remove
    it, the run's other file keeps the second one out: see `hold`.

    Raises:
        RunError: another process holds it, or the file can't be written, or is a link or no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_symlink():
            raise RunError(f"{path}: the run can't be locked: this is a link; remove it")
        try:
            self._file = os.open(path, _OPEN, 0o644)
        except OSError as error:
            raise RunError(f"{path}: the run can't be locked: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise RunError(f"{path}: the run can't be locked: this is no file; remove it")
        try:
            _lock(self._file)
        except BlockingIOError:
            holder = (
                os.pread(self._file, 32, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else ""
            )
            os.close(self._file)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise RunError(
                f"{path.parent}: the run is in use by {who}; wait for it or stop it first"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise RunError(
                f"{path.parent}: this file system has no locks ({error.strerror}); use a local directory"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode("ascii"))
        self._held = [(path, self._file)]

    def hold(self, path: Path) -> None:
        """Locks another file that is there, too, where the system's locks leave its readers alone.

        Close what else has it open first: on closing, SQLite's own locks of a file go with any descriptor of it.
        """
        if sys.platform == "win32":
            return
        file = os.open(path, os.O_RDONLY)
        self._held.append((path, file))
        try:
            _lock(file)
        except BlockingIOError:
            raise RunError(
                f"{path.parent}: the run is in use by another process; wait for it or stop it first"
            ) from None
        except OSError:
            pass  # no locks on read-only descriptors here: the first lock has to do

    @property
    def holds(self) -> bool:
        """Whether the locked files are still those of their names."""
        try:
            return all(os.path.samestat(os.stat(path), os.fstat(file)) for path, file in self._held)
        except OSError:
            return False

    def release(self) -> None:
        """Lets others in. More than once is harmless."""
        for _, file in self._held:
            os.close(file)
        self._held = []


if sys.platform == "win32":
    import msvcrt

    # Windows locks bytes, not files, and locked bytes can't be read: lock one far behind the process number.
    def _lock(file: int) -> None:
        os.lseek(file, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
