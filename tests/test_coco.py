"""Folders in COCO's format: what is read, and the line that each kind of mistake gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.coco import PADDING, CocoFolder, load_coco

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd"


def _content(images: int, first: int = 1) -> dict[str, Any]:
    """Images of 40x20, each with a box of "cat" (id 3) and one of "dog" (id 7)."""
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": first + i, "file_name": f"images/{first + i}.png", "width": 40, "height": 20}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": 10 * (first + i) + k,
                "image_id": first + i,
                "category_id": category,
                "bbox": [4.0 + 10 * k, 2.0, 8.0, 10.0],
            }
            for i in range(images)
            for k, category in enumerate((3, 7))
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name, first, count in (("train", 1, 3), ("val", 11, 4), ("test", 21, 2)):
        content = _content(count, first)
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        for image in content["images"]:
            Image.new("RGB", (40, 20), (image["id"], 0, 255)).save(tmp_path / image["file_name"])
    return tmp_path


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class TestReading:
    def test_classes_boxes_and_pixels(self, folder: Path) -> None:
        assert load_coco(CocoFolder(folder)).notes == ()
        data = load_coco(CocoFolder(folder, image_size=20))
        assert data.class_names == ("cat", "dog")
        val = data.splits["val"]
        assert val.images.shape == (4, 3, 16, 24)
        assert val.images[:, 0, 0, 0].tolist() == [11, 12, 13, 14]
        assert (val.images[:, :, 10:] == PADDING).all()
        assert (val.images[:, :, :, 20:] == PADDING).all()
        assert val.boxes[0].tolist() == [[2.0, 1.0, 6.0, 6.0], [7.0, 1.0, 11.0, 6.0]]
        assert val.labels[0].tolist() == [0, 1]
        assert sorted(data.splits["train"].images[:, 0, 0, 0].tolist()) == [1, 2, 3]

    def test_without_a_test_file_val_is_halved(self, folder: Path) -> None:
        (folder / "test.json").unlink()
        data = load_coco(CocoFolder(folder, image_size=40))
        halves = [set(data.splits[name].images[:, 0, 0, 0].tolist()) for name in ("val", "test")]
        assert halves[0] | halves[1] == {11, 12, 13, 14}
        assert len(halves[0]) == len(halves[1]) == 2
        assert "test.json does not exist: val.json was split in two halves, 2 images" in data.notes[0]
        again = load_coco(CocoFolder(folder, image_size=40))
        assert np.array_equal(again.splits["test"].images, data.splits["test"].images)

    def test_other_names(self, folder: Path) -> None:
        (folder / "train.json").rename(folder / "instances_a.json")
        _edit(
            folder / "instances_a.json",
            lambda c: [i.update(file_name=i["file_name"][7:]) for i in c["images"]],
        )
        for name in ("val", "test"):
            _edit(
                folder / f"{name}.json",
                lambda c: [i.update(file_name=i["file_name"][7:]) for i in c["images"]],
            )
        data = load_coco(CocoFolder(folder, train="instances_a.json", images="images"))
        assert len(data.splits["train"]) == 3

    def test_an_image_without_boxes_is_fine(self, folder: Path) -> None:
        _edit(folder / "train.json", lambda c: c.update(annotations=c["annotations"][:2]))
        train = load_coco(CocoFolder(folder)).splits["train"]
        assert len(train) == 3
        assert sorted((train.labels >= 0).sum(axis=1).tolist()) == [0, 0, 2]

    def test_crowds_are_marked_and_rounding_is_clipped(self, folder: Path) -> None:
        def change(content: dict[str, Any]) -> None:
            content["annotations"][0]["iscrowd"] = 1
            content["annotations"][1]["bbox"] = [-0.4, 0, 40.9, 20]

        _edit(folder / "val.json", change)
        val = load_coco(CocoFolder(folder, image_size=40)).splits["val"]
        assert val.crowd[0].tolist() == [True, False]
        assert val.boxes[0, 1].tolist() == [0.0, 0.0, 40.0, 20.0]


def test_many_small_objects_are_told(folder: Path) -> None:
    data = load_coco(CocoFolder(folder, image_size=20))
    assert data.notes == (
        "100% of the training boxes have a side under 8 pixels at image_size 20, too small to learn well: "
        "a larger image_size may help",
    )


def _annotation(**change: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][1].update(change)


ITEMS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "outside": (
        _annotation(bbox=[30, 2, 20, 8]),
        r"annotations\[1\] \(id 11\): bbox \[30, 2, 20, 8\] sticks out of its image images/1.png \(40x20\) by 10",
    ),
    "no area": (_annotation(bbox=[3, 3, 0, 5]), r"annotations\[1\].*has no area"),
    "negative": (_annotation(bbox=[3, 3, 5, -5]), r"annotations\[1\].*has no area"),
    "NaN": (_annotation(bbox=[3, 3, float("nan"), 5]), r"annotations\[1\].*is not finite"),
    "three numbers": (_annotation(bbox=[3, 3, 5]), r"annotations\[1\].*expected \[x, y, width, height\]"),
    "not numbers": (_annotation(bbox="all"), r"annotations\[1\].*expected \[x, y, width, height\]"),
    "unknown image": (_annotation(image_id=99), r"annotations\[1\].*no image has id 99"),
    "unknown category": (_annotation(category_id=5), r"annotations\[1\].*no category has id 5"),
    "no bbox": (lambda c: c["annotations"][1].pop("bbox"), r"annotations\[1\].*missing key 'bbox'"),
    "not an object": (lambda c: c["annotations"].append(3), r"annotations\[6\]: expected an object, got 3"),
    "text for a number": (_annotation(image_id="1"), r'image_id: expected a whole number, got "1"'),
    "image twice": (lambda c: c["images"].append(c["images"][0]), r"images\[3\].*second image with id 1"),
    "category twice": (
        lambda c: c["categories"].append({"id": 3, "name": "lion"}),
        r"categories\[2\].*second category with id 3",
    ),
    "category without a box": (
        lambda c: c["categories"].append({"id": 9, "name": "yeti"}),
        r"category 'yeti' \(id 9\): no box has this category",
    ),
    "image missing": (
        lambda c: c["images"][0].update(file_name="images/0.png"),
        r"images\[0\] \(id 1\): image .*0.png does not exist",
    ),
    "image elsewhere": (
        lambda c: c["images"][0].update(file_name="../../etc/passwd"),
        r"images\[0\].*leads out of",
    ),
    "other size": (
        lambda c: c["images"][0].update(width=80),
        r"image images/1.png \(id 1\): is 40x20 pixels, but 80x20 by its entry",
    ),
    "no size": (lambda c: c["images"][0].update(width=0), r"images\[0\].*a size of 0x20 pixels"),
}


@pytest.mark.parametrize("case", ITEMS)
def test_a_bad_item_is_named_or_skipped_and_counted(folder: Path, case: str) -> None:
    change, expected = ITEMS[case]
    _edit(folder / "train.json", change)
    with pytest.raises(DataError, match=expected) as caught:
        load_coco(CocoFolder(folder))
    assert str(caught.value).startswith(str(folder / "train.json: "))
    assert "\n" not in str(caught.value)

    data = load_coco(CocoFolder(folder, skip_bad=True))
    assert len(data.splits["train"].skipped) == 1
    assert data.notes == (f"train: 1 bad item skipped, the first: {data.splits['train'].skipped[0]}",)
    assert data.class_names == ("cat", "dog")


@pytest.mark.parametrize("bytes_", [b"", b"no image", b"\x89PNG\r\n\x1a\n half"])
def test_an_image_that_does_not_decode(folder: Path, bytes_: bytes) -> None:
    (folder / "images" / "12.png").write_bytes(bytes_)
    with pytest.raises(DataError, match=r"val.json: image images/12.png \(id 12\): .*12.png does not decode"):
        load_coco(CocoFolder(folder))
    data = load_coco(CocoFolder(folder, skip_bad=True))
    assert data.splits["val"].images[:, 0, 0, 0].tolist() == [11, 13, 14]


def test_a_cut_image_does_not_decode(folder: Path) -> None:
    path = folder / "images" / "12.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match="does not decode"):
        load_coco(CocoFolder(folder))


class TestWholeFiles:
    @pytest.mark.parametrize("skip_bad", [False, True])
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('{"images": [', r"train.json: broken JSON at line 1, column \d+"),
            ("[1]", r"train.json: expected an object with images"),
            ("[" * 100_000, r"train.json: broken JSON"),
            (
                '{"image": [], "annotations": [], "categories": []}',
                "missing key 'images'; did you mean 'image'",
            ),
            ('{"images": 3, "annotations": [], "categories": []}', "images: expected a list, got 3"),
            ('{"images": [], "annotations": [], "categories": []}', "no usable image"),
        ],
    )
    def test_broken(self, folder: Path, text: str, expected: str, skip_bad: bool) -> None:
        (folder / "train.json").write_text(text)
        with pytest.raises(DataError, match=expected):
            load_coco(CocoFolder(folder, skip_bad=skip_bad))

    def test_not_text(self, folder: Path) -> None:
        (folder / "train.json").write_bytes(b"\xff\xfe\x00{")
        with pytest.raises(DataError, match="broken JSON"):
            load_coco(CocoFolder(folder))

    def test_missing(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"trian.json: no such file; did you mean train.json"):
            load_coco(CocoFolder(folder, train="trian.json"))
        with pytest.raises(DataError, match=r"tests.json: no such file"):
            load_coco(CocoFolder(folder, test="tests.json"))
        with pytest.raises(DataError, match="nowhere: no such folder"):
            load_coco(CocoFolder(folder / "nowhere"))

    def test_categories_that_differ(self, folder: Path) -> None:
        _edit(folder / "val.json", lambda c: c["categories"][0].update(name="wolf"))
        with pytest.raises(
            DataError, match=r"val.json: category 'wolf' \(id 7\): train.json calls this id 'dog'"
        ):
            load_coco(CocoFolder(folder))

    def test_nothing_to_learn_from(self, folder: Path) -> None:
        _edit(folder / "train.json", lambda c: c.update(annotations=[]))
        with pytest.raises(DataError, match="no box to learn from"):
            load_coco(CocoFolder(folder, skip_bad=True))


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"{BCCD} is not there")
def test_real_photographs() -> None:
    data = load_coco(CocoFolder(BCCD, image_size=64))
    assert data.class_names == ("RBC", "WBC", "Platelets")
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [205, 44, 43]
    assert data.splits["train"].images.shape[1:] == (3, 48, 64)
    assert int((data.splits["train"].labels >= 0).sum()) == 2804
