"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as they are downloaded: the binary versions and the Python versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.image_files import LabelledImages, check_labels, read_bytes
from cse_autoloss.tasks.plain_pickle import read_plain_pickle

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Version:
    """How a data set is kept.

    Attributes:
        classes: how many.
        folders: in which the archives unpack, binary and Python.
        train, test: the files, without .bin.
        names: file of the classes' names, binary, and file and key of the Python version's.
        labels: bytes of a record before its pixels; the last is the class.
        key: of the labels in the Python version.
    """

    classes: int
    folders: tuple[str, str]
    train: tuple[str, ...]
    test: str
    names: tuple[str, str, str]
    labels: int
    key: str


_VERSIONS = {
    "cifar10": _Version(
        10, ("cifar-10-batches-bin", "cifar-10-batches-py"), tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch", ("batches.meta.txt", "batches.meta", "label_names"), 1, "labels",
    ),
    "cifar100": _Version(
        100, ("cifar-100-binary", "cifar-100-python"), ("train",),
        "test", ("fine_label_names.txt", "meta", "fine_label_names"), 2, "fine_labels",
    ),
}  # fmt: skip


def read_cifar(folder: Path, kind: str = "cifar10") -> tuple[LabelledImages, LabelledImages, tuple[str, ...]]:
    """Train, test and class names; of CIFAR-100 the 100 fine classes.

    Args:
        folder: holds the archive's folder, or its files themselves: data_batch_1.bin or data_batch_1 to 5 and
            test_batch of CIFAR-10, train.bin or train, and test, of CIFAR-100.
        kind: "cifar10" or "cifar100".

    Raises:
        DataError: neither version is there, or a file is damaged.
    """
    version = _VERSIONS[kind]
    for home in (*(folder / name for name in version.folders), folder):
        for ending, read in ((".bin", _binary), ("", _pickled)):
            if (home / f"{version.train[0]}{ending}").is_file():
                parts = [read(home / f"{name}{ending}", version) for name in version.train]
                pixels, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
                test = LabelledImages(*read(home / f"{version.test}{ending}", version))
                return LabelledImages(pixels, labels), test, _class_names(home, version, not ending)
    wanted = " or ".join(f"{version.train[0]}{ending}" for ending in (".bin", ""))
    raise DataError(f"{folder}: no {wanted} here or in {' or '.join(version.folders)}")


def _binary(path: Path, version: _Version) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Records of the label bytes and 1,024 red, green and blue bytes each, row by row."""
    content = np.frombuffer(read_bytes(path), np.uint8)
    size = version.labels + _PIXELS
    if content.size == 0 or content.size % size:
        raise DataError(
            f"{path}: {content.size} bytes are no whole number of records of {size} bytes; is it cut off?"
        )
    records = content.reshape(-1, size)
    return _checked(
        records[:, version.labels :], records[:, version.labels - 1].astype(np.int64), path, version
    )


def _pickled(path: Path, version: _Version) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A dictionary of "data" (N, 3072) uint8 and a list of labels."""
    data = _keyed(read_plain_pickle(read_bytes(path), str(path)), path)
    pixels, labels = data.get("data"), data.get(version.key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise DataError(f"{path}: expected 'data', an array (N, {_PIXELS}) of bytes")
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(n, int) for n in labels)
    ):
        raise DataError(f"{path}: expected {version.key!r}, a list of {len(pixels)} whole numbers")
    if max(map(abs, labels), default=0) >= 2**31:
        raise DataError(f"{path}: labels run from 0 to {version.classes - 1}")
    return _checked(pixels, np.array(labels, dtype=np.int64), path, version)


def _checked(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], path: Path, version: _Version
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    check_labels(labels, version.classes, str(path))
    return pixels.reshape(-1, 3, 32, 32), labels


def _class_names(home: Path, version: _Version, pickled: bool) -> tuple[str, ...]:
    """The names that stand beside the images; the classes' numbers where they do not."""
    text, meta, key = version.names
    listed: Sequence[Any] = ()
    if pickled and (home / meta).is_file():
        found = _keyed(read_plain_pickle(read_bytes(home / meta), str(home / meta)), home / meta).get(key)
        listed = found if isinstance(found, list) else ()
    elif (home / text).is_file():
        listed = read_bytes(home / text).decode("utf-8", "replace").split()
    names = tuple(one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in listed)
    return names if len(names) == version.classes else tuple(str(i) for i in range(version.classes))


def _keyed(data: Any, path: Path) -> dict[str, Any]:
    """A dictionary whose keys may be text of Python 2."""
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a dictionary, got a {type(data).__name__}")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): one for key, one in data.items()}
