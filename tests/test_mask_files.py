"""Images with masks: the embedded scenes, folders and their faults, IoU and Dice by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.settings.tasks.segmentation import SegmentationSettings
from cse_autoloss.tasks.mask_files import _values, read_masked, scene_masks
from cse_autoloss.tasks.scenes import make_scenes
from cse_autoloss.tasks.segmentation import SegmentationTask


def _write(folder: Path, count: int, size: int = 8, bright: int = 255) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((size, size), number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        pixels = np.zeros((size, size), np.uint8)
        pixels[: size // 2] = bright
        Image.fromarray(pixels).save(folder / "masks" / f"{number}.bmp")


def test_masks_of_scenes_are_the_digits_ink(tmp_path: Path) -> None:
    settings = SceneSettings(canvas=32, size=(12, 16), clutter=3, noise=0.1, counts=(6, 5, 4))
    found = scene_masks(settings, tmp_path)
    assert [len(part) for part in found.values()] == [6, 5, 4]
    for name, split in make_scenes(settings).items():
        part = found[name]
        assert np.array_equal(part.images, split.images)
        for image, mask, boxes in zip(part.images[:, 0], part.masks, split.boxes.astype(int), strict=True):
            inside = np.zeros_like(mask)
            for left, top, right, bottom in boxes:
                inside[top:bottom, left:right] = True
            assert not (mask & ~inside).any()
            assert image[mask].mean() > image[~mask].mean() + 30


@pytest.mark.parametrize("bright", [1, 200])
def test_a_folder_is_split_by_the_seed(tmp_path: Path, bright: int) -> None:
    _write(tmp_path, 10, bright=bright)
    parts = read_masked(tmp_path, 4, True, 1)
    assert [len(part) for part in parts.values()] == [6, 2, 2]
    seen = np.concatenate([part.images[:, 0, 0, 0] for part in parts.values()])
    assert sorted(seen) == list(range(10))
    for part in parts.values():
        assert part.masks[:, :2].all()
        assert not part.masks[:, 2:].any()
    other = read_masked(tmp_path, 4, True, 2)
    assert not np.array_equal(other["train"].images, parts["train"].images)


def test_a_folder_may_have_splits(tmp_path: Path) -> None:
    for name, count in (("train", 3), ("val", 1), ("test", 2)):
        _write(tmp_path / name, count)
    task = SegmentationTask(SegmentationSettings(data=f"folder:{tmp_path}", image_size=8, grey=True))
    assert {name: len(part) for name, part in task.splits.items()} == {"train": 3, "val": 1, "test": 2}
    told = "warning: 1 of the 1 images of val stand in train too, the first: 0.png"
    assert task.check()[0].startswith(told)


def test_faulty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images: no such folder"):
        read_masked(tmp_path, 8, True, 0)
    _write(tmp_path, 2)
    with pytest.raises(DataError, match="2 images; five are needed"):
        read_masked(tmp_path, 8, True, 0)
    _write(tmp_path, 9, bright=0)
    with pytest.raises(DataError, match="the masks of train have no foreground"):
        read_masked(tmp_path, 8, True, 0)
    _write(tmp_path, 9)
    (tmp_path / "masks" / "4.bmp").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"4\.bmp does not decode"):
        read_masked(tmp_path, 8, True, 0)
    (tmp_path / "masks" / "4.bmp").unlink()
    with pytest.raises(DataError, match=r"no mask for 4\.png"):
        read_masked(tmp_path, 8, True, 0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        SegmentationSettings(image_size=30)


Change = Callable[[np.ndarray], Image.Image]


def _spoil(folder: Path, change: Change) -> None:
    """Write the masks anew: what `change` makes of zeros and ones."""
    for path in sorted((folder / "masks").iterdir()):
        values = (np.asarray(Image.open(path)) > 0).astype(np.uint8)
        path.unlink()
        change(values).save(path.with_suffix(".tif"))


def _palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 60, 0, 0])  # dark red, as Pascal VOC's first class
    return image


def _greys(values: np.ndarray) -> Image.Image:
    """Black and white by indices whose order is another in every second file, as programs that shrink files do it."""
    turned = int(values.argmax()) % 2
    image = Image.fromarray(values ^ np.uint8(turned), "P")
    image.putpalette([255, 255, 255, 0, 0, 0] if turned else [0, 0, 0, 255, 255, 255])
    return image


def _turned(values: np.ndarray) -> Image.Image:
    """Red on black, by indices whose order is another in every second file."""
    turned = int(values.argmax()) % 2
    image = Image.fromarray(values ^ np.uint8(turned), "P")
    image.putpalette([200, 0, 0, 0, 0, 0] if turned else [0, 0, 0, 200, 0, 0])
    return image


def _black(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 0, 0, 0])  # a program that writes indices, and cares for no colour
    return image


@pytest.mark.parametrize(
    "change",
    [
        _palette,
        _greys,
        _turned,
        _black,
        lambda values: Image.fromarray(values * 255).quantize(2),
        lambda values: Image.fromarray(values.astype(bool)),
        lambda values: Image.fromarray(values * 3 + 1),
        lambda values: Image.fromarray(values.astype(np.uint16) * 65535),
        lambda values: Image.fromarray(np.stack([values * 255] * 3 + [values * 0 + 255], -1)),
        lambda values: Image.fromarray(
            abs(values * 255 - np.arange(64).reshape(8, 8) % 16).astype(np.uint8)
        ),  # JPEG's
    ],
)
def test_masks_as_programs_write_them(change: Change, tmp_path: Path) -> None:
    _write(tmp_path, 10)
    right = read_masked(tmp_path, 8, True, 0)
    _spoil(tmp_path, change)
    found = read_masked(tmp_path, 8, True, 0)
    assert all(np.array_equal(found[name].masks, right[name].masks) for name in right)


@pytest.mark.parametrize("colours", [[200, 0, 0, 0, 0, 0], [0, 0, 0, 200, 0, 0]])
@pytest.mark.parametrize("seen", ["black", "red"])
def test_a_mask_of_one_colour_is_what_is_shown(colours: list[int], seen: str) -> None:
    red = int(colours[0] == 0)
    image = Image.new("P", (2, 2), red if seen == "red" else 1 - red)
    image.putpalette(colours)
    assert np.unique(np.asarray(_values(image))).tolist() == [int(seen == "red")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: Image.fromarray(v * np.arange(8, dtype=np.uint8)), "hold 8 values .0, 1, 2, 3, …"),
        (lambda v: Image.fromarray(v + 254 * (v[::-1] * np.eye(8, dtype=np.uint8))), "values .0, 1, 254."),
        (lambda v: Image.fromarray(np.stack([v * 255, v, v], -1)), "a mask in colours"),
        (lambda v: Image.fromarray(v[:, :6] * 255), "6x8 pixels, but its image has 8x8"),
        (lambda v: Image.fromarray(v.astype(np.float32) * -1), "values below 0"),
    ],
)
def test_masks_that_are_none(change: Change, message: str, tmp_path: Path) -> None:
    _write(tmp_path, 10)
    _spoil(tmp_path, change)
    with pytest.raises(DataError, match=message) as told:
        read_masked(tmp_path, 8, True, 0)
    assert "0.tif" in str(told.value)


def test_splits_below_images_and_masks_and_a_turned_photograph(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        _write(tmp_path / name, 2)
        for kind in ("images", "masks"):
            (tmp_path / name / kind).rename(tmp_path / f"{name} {kind}")
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / f"{name} {kind}").rename(tmp_path / kind / name)
    (tmp_path / "masks" / "train" / "0.bmp").rename(tmp_path / "masks" / "train" / "0_mask.bmp")
    pixels = np.arange(48, dtype=np.uint8).reshape(8, 6)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "images" / "train" / "0.png", exif=turned)
    mask = Image.fromarray(np.repeat(np.array([255, 0], np.uint8), 24).reshape(8, 6))
    mask.save(tmp_path / "masks" / "train" / "0_mask.bmp")
    found = read_masked(tmp_path, 8, True, 0)
    assert [len(part) for part in found.values()] == [2, 2, 2]
    rows = found["train"].images[0, 0].astype(float).mean(1)
    assert (np.diff(rows) > 0).all()  # upright, as its mask is
    mask.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "masks" / "train" / "0_mask.bmp")
    columns = read_masked(tmp_path, 8, True, 0)["train"].images[0, 0].astype(float).mean(0)
    assert (np.diff(columns) > 0).all()  # as it is stored, as its mask is
    _image = tmp_path / "masks" / "train" / "spare.png"
    mask.save(_image)
    told = f"{_image.parent}: 1 masks of no image are left out, the first: spare"
    assert told in SegmentationTask(SegmentationSettings(data=f"folder:{tmp_path}", image_size=8)).check()
    Image.fromarray(pixels).save(tmp_path / "images" / "train" / "0.jpg")
    with pytest.raises(DataError, match=r"0\.jpg and 0\.png have one name"):
        read_masked(tmp_path, 8, True, 0)


def test_iou_and_dice_by_hand(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        _write(tmp_path / name, 2)
    task = SegmentationTask(SegmentationSettings(data=f"folder:{tmp_path}", image_size=8, grey=True))

    class Left(nn.Module):
        """Foreground on the left half; of images that lie above the mean nothing at all."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.full((len(images), 8, 8), -1.0)
            logits[images[:, 0, 0, 0] < 0, :, :4] = 1.0
            return logits

    # Half and half of the image: a quarter in common of three quarters; then nothing found.
    found = task.score(Left(), "val", None)
    assert found == {"iou": pytest.approx((1 / 3 + 0) / 2), "dice": pytest.approx((1 / 2 + 0) / 2)}
    assert task.score(Left(), "val", 1)["iou"] == pytest.approx(1 / 3)
    task.splits["val"].masks[1] = False
    assert task.score(Left(), "val", None)["iou"] == pytest.approx((1 / 3 + 1) / 2)
