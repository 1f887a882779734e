"""Outlines as COCO has them, and Mask R-CNN with our losses in its box head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fullsize_samples import edit, needs_torchvision, small_settings, tiny_faster_rcnn, write_data
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cse_autoloss.errors import DataError
from cse_autoloss.fullsize.data import CocoImages, load_files
from cse_autoloss.fullsize.evaluate import coco_table
from cse_autoloss.fullsize.losses import settle
from cse_autoloss.fullsize.outlines import filled, packed
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.settings.load import changed


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    write_data(tmp_path)
    return small_settings(tmp_path, detector="torchvision:maskrcnn_resnet50_fpn", loss="cse-autoloss-a")


def images(settings: TrainSettings, split: str = "train") -> CocoImages:
    files = load_files(settings, masks=True)
    return CocoImages(getattr(files, split), files.categories, first_label=1, masks=True)


# -- outlines ------------------------------------------------------------------------------------------------


def test_polygons_are_filled_and_stay_in_the_image() -> None:
    square = filled([[1, 1, 4, 1, 4, 3, 1, 3]], 5, 6, "x")
    assert square.sum() == 6
    assert (square[1:3, 1:4] == 1).all()
    beyond = filled([[-1e9, -5, 1e9, -5, 1e9, 2, -1e9, 2]], 5, 6, "x")
    assert (beyond[:2] == 1).all()
    assert beyond[2:].sum() == 0


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_runs_in_both_forms(height: int, width: int, seed: int, repeat: int) -> None:
    small = np.random.default_rng(seed).integers(0, 2, (height, width), dtype=np.uint8)
    shape = small.repeat(repeat, 0).repeat(repeat, 1)
    size = list(shape.shape)
    text = packed(shape)["counts"].decode("ascii")
    assert np.array_equal(filled({"size": size, "counts": text}, *size, "x"), shape)
    edges = np.flatnonzero(np.diff(shape.T.ravel(), prepend=0))
    runs = np.diff([0, *edges, shape.size]).tolist()
    assert np.array_equal(filled({"size": size, "counts": runs}, *size, "x"), shape)


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        "text",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 6, 7]],
        {"size": [4, 5], "counts": [30]},
        {"size": [5, 6], "counts": [31]},
        {"size": [5, 6], "counts": [-1, 31]},
        {"size": [5, 6], "counts": "0" * 1000},
        {"size": [5, 6], "counts": "ooooooooooooooooooooo"},
        {"size": [5, 6], "counts": "é"},
        {"size": [5, 6]},
    ],
)
def test_what_is_no_outline(outline: Any) -> None:
    with pytest.raises(DataError, match=r"^f: segmentation: ") as error:
        filled(outline, 5, 6, "f")
    assert "\n" not in str(error.value)


def test_masks_follow_their_boxes(settings: TrainSettings) -> None:
    data = images(settings)
    for mirrored in (False, True):
        _, target = data[1, mirrored]
        x0, y0, x1, y1 = target["boxes"][0].int().tolist()
        mask = target["masks"][0]
        assert mask.dtype == torch.uint8
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() == (x1 - x0) * (y1 - y0)
    assert data[5, False][1]["masks"].shape == (0, 64, 48)


def test_data_without_outlines(settings: TrainSettings) -> None:
    file = Path(settings.data.removeprefix("coco:")) / "train.json"
    edit(file, lambda content: content["annotations"][2].pop("segmentation"))
    with pytest.raises(
        DataError, match=r"1 of 5 objects have no 'segmentation', the first: one in image train2\.png"
    ):
        images(settings)
    assert len(images(settings, "val")) == 6


class Oracle(nn.Module):
    """Says what the data says, its masks moved down."""

    def __init__(self, data: CocoImages, down: int) -> None:
        super().__init__()
        self._answers = [data[index, False][1] for index in range(len(data))]
        self._down = down

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        answer = self._answers.pop(0)
        masks = answer["masks"].roll(self._down, dims=1)[:, None].float()
        return [{**answer, "masks": masks, "scores": torch.full((len(masks),), 0.9)}]


def test_masks_have_a_table_of_their_own(settings: TrainSettings) -> None:
    data = images(settings, "val")
    table = coco_table(Oracle(data, 0), data, 1, torch.device("cpu"))
    assert table["AP"] == table["mask AP"] == pytest.approx(1.0)
    moved = coco_table(Oracle(data, 3), data, 1, torch.device("cpu"))
    assert moved["AP"] == pytest.approx(1.0)
    assert moved["mask AP50"] == pytest.approx(1.0)
    assert 0 < moved["mask AP"] < 1


# -- the whole -----------------------------------------------------------------------------------------------


@needs_torchvision
@pytest.mark.torchvision
def test_mask_rcnn_trains_with_our_box_losses(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cse_autoloss.fullsize import models
    from cse_autoloss.fullsize.training import train

    monkeypatch.setattr(models.models, "get_model", tiny_faster_rcnn)
    tables = train(settings, tmp_path / "ours")
    assert tables["val"].keys() >= {"AP", "mask AP"}
    train(changed(settings, {"loss": None, "loss_reg": None}), tmp_path / "theirs")
    first = [(tmp_path / n / "scalars.jsonl").read_text().splitlines()[0] for n in ("ours", "theirs")]
    ours, theirs = (json.loads(line) for line in first)
    # Before the first step the networks are the same: masks keep torchvision's loss, boxes do not.
    for name in ("loss_mask", "loss_objectness", "loss_rpn_box_reg"):
        assert ours[name] == theirs[name]
    for name in ("loss_classifier", "loss_box_reg"):
        assert ours[name] != theirs[name]


@needs_torchvision
@pytest.mark.torchvision
def test_the_real_mask_rcnn_takes_a_step(settings: TrainSettings) -> None:
    from cse_autoloss.fullsize.models import make_model

    model = make_model(settle(settings), ["bright", "dark"])
    image, target = images(settings)[0, False]
    model.network.train()
    losses = model.network([image], [target])
    assert losses.keys() >= {"loss_mask", "loss_classifier", "loss_box_reg"}
    sum(losses.values()).backward()
    head = model.network.roi_heads.mask_predictor.mask_fcn_logits.weight.grad
    assert torch.isfinite(head).all()
    assert model.network.roi_heads.box_predictor.cls_score.weight.grad.abs().sum() > 0
