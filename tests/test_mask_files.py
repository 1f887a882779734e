"""Images with masks: the embedded scenes, folders and their faults, IoU and Dice by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.settings.tasks.segmentation import SegmentationSettings
from cse_autoloss.tasks.mask_files import read_masked, scene_masks
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
