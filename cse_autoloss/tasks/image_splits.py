"""Train, validation and test images of a classification task, with symmetric label noise on train alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import ConfigError, DataError, shorten
from cse_autoloss.settings.fields import kind_left_out
from cse_autoloss.tasks.cifar import read_cifar
from cse_autoloss.tasks.data_digest import shared_files, under_two_names
from cse_autoloss.tasks.handwriting import handwriting_parts, load_handwriting
from cse_autoloss.tasks.image_chance import TEST_SHARE, split_by_chance, whole_folder
from cse_autoloss.tasks.image_files import LabelledImages, read_folder, read_idx
from cse_autoloss.tasks.image_listing import folders_of, left_out, list_images, split_folders
from cse_autoloss.tasks.photographs.probing import Progress, nothing
from cse_autoloss.tasks.protocol import drawn_seed

KINDS = ("cifar10", "cifar100", "idx", "folder")
"""What data of files may be: KIND:DIR."""


@dataclass(frozen=True)
class ImageSplits:
    """Three disjoint splits.

    Attributes:
        train, val, test: images; train's labels may be noisy, the others' never are.
        class_names: by label.
        flipped: how many labels of train were changed.
    """

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    flipped: int = 0


def load_splits(
    data: str,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    train_limit: int | None = None,
    label_noise: float = 0.0,
    image_size: int = 32,
    grey: bool = False,
    shrink: int = 1,
    draw: int = 0,
    progress: Progress = nothing,
) -> ImageSplits:
    """The splits of a data set.

    Args:
        data: "digits" (scikit-learn's 1,797 scans of 8x8 pixels, split 915/372/510 by who wrote them),
            "cifar10:DIR", "cifar100:DIR", "idx:DIR", or "folder:DIR" with
            DIR/train/CLASS, DIR/test/CLASS and, if you like, DIR/val/CLASS; or with DIR/CLASS alone.
        seed: of splits, subset and noise.
        val_share: share of the training images that becomes validation where the data has none; of all images where
            the data has no splits.
        train_limit: so many of the training images only, drawn by the seed, after validation was set aside.
        label_noise: share of train's labels that is changed to another class, any of them alike.
        image_size: side that images of folders are scaled to, pixels.
        grey: one channel for images of folders.
        shrink: images are averaged over blocks of so many pixels a side, after all else.
        draw: another one has other wrong labels and another subset, and the same splits.
        progress: told of each image of a folder that was read.

    Raises:
        DataError: what is wrong with the data.
        ConfigError: an impossible value.
    """
    if not 0 <= label_noise < 1:
        raise ConfigError(f"label_noise: expected a share in [0, 1), got {label_noise!r}")
    if not 0 < val_share < 1:
        raise ConfigError(f"val_share: expected a share above 0 and below 1, got {val_share!r}")
    kind, _, place = data.partition(":")
    if kind == "digits":
        splits = _digits()
    elif kind in KINDS and place:
        splits = _from_files(kind, Path(place).expanduser(), seed, val_share, image_size, grey, progress)
    else:
        kinds = ", ".join(f"'{one}:DIR'" for one in KINDS)
        hint = kind_left_out(kinds, data)
        raise ConfigError(f"data: expected 'digits' or one of {kinds}, got {shorten(data)!r}{hint}")
    check_splits(splits, place or data)
    if train_limit is not None and train_limit < len(splits.train):
        order = _random("subset", drawn_seed(seed, draw)).permutation(len(splits.train))[:train_limit]
        splits = replace(splits, train=splits.train.take(np.sort(order)))
    if shrink > 1:
        train, val, test = (_shrunk(part, shrink) for part in (splits.train, splits.val, splits.test))
        splits = replace(splits, train=train, val=val, test=test)
    return with_label_noise(splits, label_noise, drawn_seed(seed, draw))


def notes_on(data: str, val_share: float = 0.2) -> tuple[str, ...]:
    """What of a folder is left out, by a look at the names alone."""
    kind, _, place = data.partition(":")
    folder = Path(place).expanduser()
    if kind != "folder" or not place:
        return ()
    places = split_folders(folder)
    if not places and whole_folder(folder):
        sizes = f"{val_share:.0%} of each class for validation and {TEST_SHARE:.0%} for test"
        own = left_out(folder, list_images(folder).others)
        return (f"{folder} has no splits: it was split by chance, {sizes}", *own)
    told = [line for own in places.values() for line in left_out(own, list_images(own).others)]
    if "train" in places and "val" in places and "test" not in places:
        told.append(f"{folder}: no test split: {places['val'].name} was split in two halves, class by class")
    return tuple(told)


def shared_images(data: str) -> tuple[str, ...]:
    """Warnings where images of a folder stand in two splits or in two classes; of other kinds nobody looks."""
    kind, _, place = data.partition(":")
    if kind != "folder" or not place:
        return ()
    folder = Path(place).expanduser()
    places = split_folders(folder)
    classes: dict[str, list[Path]] = {}
    for own in places.values() or (folder,):
        for one in folders_of(own):
            classes.setdefault(one.name, []).extend(list_images(one).images)
    parted = shared_files({name: list_images(own).images for name, own in places.items()})
    return (*parted, *under_two_names(classes))


def absent_classes(splits: ImageSplits) -> tuple[str, ...]:
    """A note for val and for test where they have no image of a class that is learned."""
    told = []
    for name, part in (("val", splits.val), ("test", splits.test)):
        counts = np.bincount(part.labels, minlength=len(splits.class_names))
        absent = [one for one, count in zip(splits.class_names, counts, strict=True) if not count]
        if absent:
            told.append(
                f"{name} has no image of {len(absent)} of the {len(counts)} classes, the first: {absent[0]}; "
                "its scores tell nothing of them"
            )
    return tuple(told)


def with_label_noise(splits: ImageSplits, share: float, seed: int) -> ImageSplits:
    """round(share·N) labels of train, drawn without replacement, become another class, uniformly."""
    classes, count = len(splits.class_names), round(share * len(splits.train))
    if not count:
        return splits
    source = _random("label noise", seed)
    which = source.permutation(len(splits.train))[:count]
    labels = splits.train.labels.copy()
    labels[which] = (labels[which] + source.integers(1, classes, count)) % classes
    return replace(splits, train=LabelledImages(splits.train.pixels, labels), flipped=count)


def check_splits(splits: ImageSplits, where: str) -> None:
    """DataError, of data named `where`, where a split is empty or a class has no image to learn from."""
    for name in ("train", "val", "test"):
        if not len(getattr(splits, name)):
            raise DataError(f"{where}: the {name} split is empty")
    counts = np.bincount(splits.train.labels, minlength=len(splits.class_names))
    if len(counts) < 2:
        raise DataError(f"{where}: expected two classes or more, got {len(counts)}")
    if counts.min() == 0:
        raise DataError(f"{where}: class {splits.class_names[counts.argmin()]!r} has no training image")


def hold_out(
    images: LabelledImages, names: tuple[str, ...], share: float, seed: int, where: str, least: int = 2
) -> tuple[LabelledImages, LabelledImages]:
    """Sets a share of each class aside, one image at least; both parts keep at least one of each class that has
    `least` images, and a class with fewer is an error."""
    aside = np.zeros(len(images), dtype=bool)
    source = _random("validation", seed)
    for label, name in enumerate(names):
        own = np.flatnonzero(images.labels == label)
        if 0 < len(own) < least:
            raise DataError(
                f"{where}: class {name!r} has one image; two are needed, one to learn and one to validate"
            )
        count = min(max(1, round(share * len(own))), len(own) - 1) if len(own) else 0
        aside[source.permutation(own)[:count]] = True
    return images.take(np.flatnonzero(~aside)), images.take(np.flatnonzero(aside))


def _digits() -> ImageSplits:
    scans, labels = load_handwriting()
    images = LabelledImages(np.round(scans * (255 / 16)).astype(np.uint8)[:, None], labels)
    train, val, test = (images.take(part) for part in handwriting_parts(len(images)))
    return ImageSplits(train, val, test, tuple(str(i) for i in range(10)))


def _from_files(
    kind: str, folder: Path, seed: int, val_share: float, size: int, grey: bool, progress: Progress
) -> ImageSplits:
    if kind == "folder":
        return _from_folder(folder, seed, val_share, size, grey, progress)
    train, test, names = read_idx(folder) if kind == "idx" else read_cifar(folder, kind)
    train, val = hold_out(train, names, val_share, seed, str(folder))
    return ImageSplits(train, val, test, names)


def _from_folder(
    folder: Path, seed: int, val_share: float, size: int, grey: bool, progress: Progress
) -> ImageSplits:
    """Of DIR/SPLIT/CLASS. The test split is the audit's alone, so that what is not there comes from the others."""
    if folder.is_dir() and not split_folders(folder) and whole_folder(folder):
        images, names = read_folder(folder, size, grey, progress=progress)
        return ImageSplits(*split_by_chance(images, names, str(folder), val_share), names)
    places = _places(folder)
    train, names = read_folder(places["train"], size, grey, progress=progress)
    rest = {
        name: read_folder(place, size, grey, names, progress)[0]
        for name, place in places.items()
        if name != "train"
    }
    if "test" not in rest:
        val, test = hold_out(rest["val"], names, 0.5, seed, str(folder), least=1)
        return ImageSplits(train, val, test, names)
    if "val" in rest:
        return ImageSplits(train, rest["val"], rest["test"], names)
    train, val = hold_out(train, names, val_share, seed, str(folder))
    return ImageSplits(train, val, rest["test"], names)


def _places(folder: Path) -> dict[str, Path]:
    """Split -> its folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    places = split_folders(folder)
    if "train" not in places or len(places) < 2:
        found = ", ".join(path.name for path in folders_of(folder)[:4]) or "no folder"
        missing = "train" if "train" not in places else "test or val"
        raise DataError(
            f"{folder}: no {missing} split; expected {folder.name}/train/CLASS and {folder.name}/test/CLASS, "
            f"found {found}" + ("" if places else "; if they are people, the task is faces")
        )
    return places


def _shrunk(images: LabelledImages, factor: int) -> LabelledImages:
    count, channels, height, width = images.pixels.shape
    if height % factor or width % factor:
        raise ConfigError(f"shrink: {factor} does not divide the images' {height} x {width} pixels")
    blocks = images.pixels.reshape(count, channels, height // factor, factor, width // factor, factor)
    means = np.round(blocks.mean((3, 5), dtype=np.float32)).astype(np.uint8)
    return LabelledImages(means, images.labels)


def _random(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(derived_seed(name, seed))
