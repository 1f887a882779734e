"""Photographs with boxes: layouts, repairs, what is looked at before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from boxed_samples import sample, write_coco, write_voc, write_yolo
from mutated_data import HARMLESS_COCO, Case, cases, verdict
from PIL import Image

import cse_autoloss
from cse_autoloss.cli.data import command as data_command
from cse_autoloss.errors import DataError, RunError, UnknownNameError
from cse_autoloss.tasks.photographs import PADDING, Dataset, Source, load_dataset, small_objects, to_splits
from cse_autoloss.tasks.photographs.pixels import read_photograph

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd"


def _content(images: int, first: int = 1) -> dict[str, Any]:
    """Images of 40x20, each with a box of "cat" (id 3) and one of "dog" (id 7)."""
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": first + i, "file_name": f"images/{first + i:02}.png", "width": 40, "height": 20}
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


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for name, first, count in (("train", 1, 3), ("val", 11, 4), ("test", 21, 2)):
        content = _content(count, first)
        (root / f"{name}.json").write_text(json.dumps(content))
        for image in content["images"]:
            Image.new("RGB", (40, 20), (image["id"], 0, 255)).save(root / image["file_name"])
    return root


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def load(folder: Path, files: tuple[str, ...] = (), **options: Any) -> Dataset:
    return load_dataset(Source.of(f"coco:{folder}", files, **options))


class TestReading:
    def test_classes_boxes_and_pixels(self, folder: Path) -> None:
        data = load(folder)
        assert (data.notes, data.class_names) == ((), ("cat", "dog"))
        splits = to_splits(data, 20, 8)
        val = splits["val"]
        assert val.images.shape == (4, 3, 16, 24)
        assert val.images[:, 0, 0, 0].tolist() == [11, 12, 13, 14]
        assert (val.images[:, :, 10:] == PADDING).all()
        assert (val.images[:, :, :, 20:] == PADDING).all()
        assert val.boxes[0].tolist() == [[2.0, 1.0, 6.0, 6.0], [7.0, 1.0, 11.0, 6.0]]
        assert val.labels[0].tolist() == [0, 1]
        assert sorted(splits["train"].images[:, 0, 0, 0].tolist()) == [1, 2, 3]

    def test_without_a_test_split_val_is_halved(self, folder: Path) -> None:
        (folder / "test.json").unlink()
        data = load(folder)
        halves = [set(data.splits[name].images) for name in ("val", "test")]
        assert halves[0] | halves[1] == {11, 12, 13, 14}
        assert len(halves[0]) == len(halves[1]) == 2
        assert "no test split: val.json was split in two halves, 2 images" in data.notes[0]
        assert load(folder).digest == data.digest

    def test_other_names_and_a_folder_of_images(self, folder: Path) -> None:
        (folder / "train.json").rename(folder / "mine.json")
        _edit(folder / "mine.json", lambda c: [i.update(file_name=i["file_name"][7:]) for i in c["images"]])
        assert (
            len(load(folder, ("mine.json", "val.json", "test.json"), images={"train": "images"}).splits) == 3
        )

    def test_crowds_are_marked_and_boxes_clipped_and_counted(self, folder: Path) -> None:
        def change(content: dict[str, Any]) -> None:
            content["annotations"][0]["iscrowd"] = 1
            content["annotations"][1]["bbox"] = [-0.4, 0, 40.9, 20]
            content["annotations"][3]["bbox"] = [30, 2, 20, 8]

        _edit(folder / "val.json", change)
        data = load(folder)
        val = to_splits(data, 40, 8)["val"]
        assert val.crowd[0].tolist() == [True, False]
        assert val.boxes[0, 1].tolist() == [0.0, 0.0, 40.0, 20.0]
        assert val.boxes[1, 1].tolist() == [30.0, 2.0, 40.0, 10.0]
        assert len(data.notes) == 1
        assert "val: 1 box was clipped at the image's edge, the first: " in data.notes[0]
        assert "annotations[3] (id 121): sticks out of its image images/12.png (40x20) by 10" in data.notes[0]

    def test_difficult_objects_are_no_background_and_twins_count_once(self, tmp_path: Path) -> None:
        hard = lambda split, name, text: text.replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1)  # noqa: E731
        write_voc(sample(0), tmp_path / "voc", hard)
        write_yolo(sample(0), tmp_path / "yolo", lambda split, name, lines: lines.extend(lines[:1]))
        voc, yolo = (load_dataset(Source.of(str(tmp_path / name))) for name in ("voc", "yolo"))
        assert to_splits(voc, 48, 8)["val"].crowd.tolist() == [[True, False]] * 3
        assert any(note.startswith("val: 3 objects are marked difficult: neither") for note in voc.notes)
        assert to_splits(yolo, 48, 8)["val"].labels.tolist() == [[0, 1]] * 3
        assert any(
            note.startswith("val: 3 objects stand on their image a second time")
            and note.endswith("val_é0.txt: line 3")
            for note in yolo.notes
        )

    def test_one_file_without_splits_is_split_by_chance(self, folder: Path) -> None:
        for name in ("train", "test"):
            (folder / f"{name}.json").unlink()
        (folder / "val.json").unlink()
        (folder / "result.json").write_text(json.dumps(_content(3) | {"info": {}}))
        _edit(
            folder / "result.json",
            lambda c: [c[key].extend(_content(4, 11)[key]) for key in ("images", "annotations")],
        )
        data = load_dataset(Source.of(str(folder)))
        assert [len(found.images) for found in data.splits.values()] == [4, 2, 1]
        assert data.notes[0] == "COCO's layout: all result.json"
        assert "result.json has no splits: it was split by chance, 4 images for train" in data.notes[1]


def test_many_small_objects_are_told(folder: Path) -> None:
    train = load(folder).splits["train"]
    assert small_objects(train, 40, 8) == []
    assert small_objects(train, 20, 8)[0].startswith(
        "100% of the training boxes have a side under 8 pixels at"
    )


class TestRepair:
    def test_an_annotation_takes_its_image_with_it(self, folder: Path) -> None:
        _edit(folder / "train.json", lambda c: c["annotations"][1].update(bbox=[3, 3, 0, 5]))
        _edit(folder / "train.json", lambda c: c["images"][2].update(width=80))
        with pytest.raises(
            DataError, match=r"train\.json: annotations\[1\] \(id 11\): bbox \[3, 3, 0, 5\] has no area"
        ):
            load(folder)
        data = load(folder, skip_bad=True)
        assert list(data.splits["train"].images) == [2]
        assert data.notes[0] == "train: 2 of 3 images left out for what is wrong with them"
        assert data.notes[1].startswith("train: 1 bad item (bbox without area), the first: ")
        assert data.notes[2].startswith("train: 1 bad item (other size), the first: ")

    def test_images_without_a_number_are_counted(self, folder: Path) -> None:
        _edit(folder / "train.json", lambda c: c["images"][0].update(id=None))
        assert load(folder, skip_bad=True).notes[0] == (
            "train: 1 of 3 images left out for what is wrong with them"
        )

    def test_of_two_images_with_one_id_both_go(self, folder: Path) -> None:
        _edit(
            folder / "train.json",
            lambda c: c["images"].append(c["images"][0] | {"file_name": "images/11.png"}),
        )
        with pytest.raises(DataError, match=r"images\[3\] \(id 1\): a second image with id 1"):
            load(folder)
        assert list(load(folder, skip_bad=True).splits["train"].images) == [2, 3]

    def test_categories_of_val_are_matched_by_name(self, folder: Path) -> None:
        clean = load(folder)

        def swap(content: dict[str, Any]) -> None:
            for item in content["categories"]:
                item["id"] = 10 - item["id"]
            for item in content["annotations"]:
                item["category_id"] = 10 - item["category_id"]

        _edit(folder / "val.json", swap)
        with pytest.raises(
            DataError, match=r"val\.json: category 'dog' \(id 3\): train\.json has this category as id 7"
        ):
            load(folder)
        mended = load(folder, skip_bad=True)
        assert mended.digest == clean.digest
        assert any("category 'dog' is id 3 here, 7 in train" in note for note in mended.notes)

    def test_a_class_that_train_lacks(self, folder: Path) -> None:
        _edit(folder / "val.json", lambda c: c["categories"][0].update(name="wolf"))
        with pytest.raises(
            DataError, match=r"category 'wolf' \(id 7\): train.json has no box .*calls this id 'dog'"
        ):
            load(folder)
        with pytest.raises(DataError, match=r"val.json: no usable image, e.g. .*'wolf'"):
            load(folder, skip_bad=True)
        _edit(folder / "val.json", lambda c: c.update(annotations=c["annotations"][::2]))
        assert "no box has the category" not in "".join(load(folder).notes)


class TestMeaning:
    def test_images_that_stand_in_two_splits(self, folder: Path) -> None:
        data = load(folder, ("train.json", "train.json", "test.json"))
        assert data.notes == (
            "warning: 3 of the 3 images of val stand in train too, the first: images/01.png; "
            "scores on val then tell less than they seem to",
        )

    def test_a_file_that_is_listed_twice(self, folder: Path) -> None:
        def again(content: dict[str, Any]) -> None:
            content["images"].append(content["images"][0] | {"id": 99})
            content["annotations"] += [one | {"image_id": 99} for one in content["annotations"][:2]]

        _edit(folder / "train.json", again)
        assert (
            "train: 1 entries list a file a second time, the first: images[3] (id 99)"
            in load(folder).notes[0]
        )
        _edit(folder / "train.json", lambda c: c["annotations"].pop())
        with pytest.raises(
            DataError, match=r"images\[3\] \(id 99\): .* is the file of images\[0\] \(id 1\), with other"
        ):
            load(folder)
        assert list(load(folder, skip_bad=True).splits["train"].images) == [2, 3]

    def test_more_objects_than_are_scored(self, folder: Path) -> None:
        def change(content: dict[str, Any]) -> None:
            rows = [
                one | {"bbox": [2, 3, 5 + at / 60, 6]} for one in content["annotations"] for at in range(60)
            ]
            content["annotations"] = rows

        _edit(folder / "val.json", change)
        assert "val: 4 images have more than 100 objects, the first: images/11.png" in load(folder).notes[0]


class TestPixels:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_orientation_is_followed(self, orientation: int, tmp_path: Path) -> None:
        from PIL import ImageOps

        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 9
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened))
        assert np.array_equal(np.asarray(read_photograph(tmp_path / "a.png")), expected)

    def test_sizes_as_stored_keep_the_picture_as_stored(self, folder: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (40, 20), (3, 0, 255)).save(folder / "images" / "03.png", exif=exif)
        data = load(folder)
        assert to_splits(data, 40, 8)["train"].images.shape[-2:] == (24, 40)
        assert "1 images have an EXIF orientation, but sizes as they are stored" in data.notes[0]

    def test_modes_keep_their_picture_or_are_refused(self, tmp_path: Path) -> None:
        grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
        for name, image in {
            "16.png": Image.fromarray(grey.astype(np.uint16) * 257),
            "32.tif": Image.fromarray(grey.astype(np.int32) * 257),
            "float.tif": Image.fromarray(grey.astype(np.float32) / 255),
            "float255.tif": Image.fromarray(grey.astype(np.float32)),
            "la.png": Image.fromarray(grey).convert("LA"),
            "p.png": Image.fromarray(grey).convert("P"),
        }.items():
            image.save(tmp_path / name)
            assert np.array_equal(np.asarray(read_photograph(tmp_path / name))[..., 1], grey), name
        Image.fromarray(grey.astype(np.float32) - 40).save(tmp_path / "negative.tif")
        with pytest.raises(DataError, match=r"negative.tif does not decode: holds pixels below 0"):
            read_photograph(tmp_path / "negative.tif")


class TestLayouts:
    def test_a_wrong_folder_says_what_is_there(self, folder: Path) -> None:
        with pytest.raises(
            DataError, match=r"images: found 01\.png, 02\.png, .* and 5 more; expected COCO's"
        ):
            load_dataset(Source.of(str(folder / "images")))
        with pytest.raises(DataError, match=r"sett: no such folder; did you mean .*set\?"):
            load_dataset(Source.of(str(folder.parent / "sett")))
        assert load_dataset(Source.of(str(folder.parent))).digest == load(folder).digest  # a folder deeper
        with pytest.raises(DataError, match="no data in YOLO's layout, but in COCO's"):
            load_dataset(Source.of(f"yolo:{folder}"))

    def test_a_missing_split(self, folder: Path) -> None:
        (folder / "val.json").unlink()
        with pytest.raises(
            DataError, match=r"no validation split: expected val.json; found train.json, test.json"
        ):
            load(folder)
        with pytest.raises(DataError, match=r"trian\.json: no such file; did you mean train\.json"):
            load(folder, ("trian.json",))

    def test_two_files_that_may_be_one_split(self, folder: Path) -> None:
        (folder / "train.json").rename(folder / "train_a.json")
        (folder / "train_b.json").write_bytes((folder / "train_a.json").read_bytes())
        with pytest.raises(
            DataError, match=r"2 files may be train: train_a.json, train_b.json; name one by train_file"
        ):
            load_dataset(Source.of(str(folder)))


def test_mutated_data_sets(tmp_path: Path) -> None:
    """Every change once, in one of the layouts; `python tests/mutated_data.py` takes them all."""
    by_change: dict[str, list[Case]] = {}
    for case in cases():
        by_change.setdefault(case.kind + case.name.partition(": ")[2], []).append(case)
    for number, same in enumerate(by_change.values()):
        case = same[number % len(same)]
        (tmp_path / str(number)).mkdir()
        assert verdict(case, number, tmp_path / str(number)) == "", case.name


def test_the_check_of_mutated_data_bites(tmp_path: Path) -> None:
    def moved(made: Any, root: Path) -> None:
        write_coco(made, root, "plain", lambda s, c, f: c["annotations"][0]["bbox"].__setitem__(0, 1.0))

    assert verdict(Case("moved", True, moved, "coco"), 0, tmp_path) == "reads as other arrays"


class TestLooking:
    def test_a_look_that_is_broken_off_is_gone_on_with(self, folder: Path) -> None:
        class Enough(Exception):
            pass

        def progress(done: int, total: int) -> None:
            seen.append((done, total))
            if done == 4 < total - 4:
                raise Enough

        seen: list[tuple[int, int]] = []
        with pytest.raises(Enough):
            load_dataset(Source.of(f"coco:{folder}"), progress=progress)
        assert seen[-1] == (4, 9)
        load_dataset(Source.of(f"coco:{folder}"), progress=progress)
        assert seen[-1] == (5, 5)

    def test_what_is_known_of_images_is_kept_until_they_change(self, folder: Path) -> None:
        seen: list[tuple[int, int]] = []
        progress = lambda done, total: seen.append((done, total))  # noqa: E731
        source = Source.of(f"coco:{folder}")
        first = load_dataset(source, progress=progress)
        assert seen[-1] == (9, 9)
        assert load_dataset(source, progress=progress).digest == first.digest
        assert len(seen) == 9
        Image.new("RGB", (40, 20), (200, 0, 255)).save(folder / "images" / "01.png", compress_level=0)
        assert load_dataset(source, progress=progress).digest != first.digest
        assert seen[9:] == [(1, 1)]

    def test_a_report_with_sixteen_images(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _edit(folder / "train.json", lambda c: c["annotations"][1].update(iscrowd=1))
        _edit(folder / "train.json", lambda c: c["annotations"][2].update(bbox=[1, 2, 0, 3]))
        report = cse_autoloss.inspect_data(folder, folder / "looks" / "a.png")
        assert report.splits[0].classes == {"cat": 2, "dog": 1}
        assert (report.splits[0].crowds, report.splits[0].images, report.splits[1].boxes) == (1, 2, 8)
        assert "annotations[2] (id 20): bbox [1, 2, 0, 3] has no area" in report.problem
        with Image.open(folder / "looks" / "a.png") as image:
            assert min(image.size) > 200
            assert len(image.getcolors(1 << 20) or ()) > 4
        with pytest.raises(UnknownNameError, match="unknown split 'tests'; did you mean 'test'"):
            cse_autoloss.inspect_data(folder, folder / "b.png", "tests")
        data_command(str(folder), folder / "b.png")
        assert "Wrong: " in capsys.readouterr().out


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"{BCCD} is not there")
def test_real_photographs() -> None:
    data = load(BCCD)
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert [len(found.images) for found in data.splits.values()] == [205, 44, 43]
    assert data.splits["train"].boxes == 2804


def test_a_run_goes_on_with_the_data_that_it_began_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cse_autoloss.bench.progress import RunStatus, Silent
    from cse_autoloss.bench.session import NothingDone, Session
    from cse_autoloss.runs import RunStore
    from cse_autoloss.settings.load import load_config

    monkeypatch.chdir(folder.parent)
    for data, kept in (("coco:set", f"coco:{folder}"), ("set", str(folder)), ("digits", "digits")):
        config = load_config(None, {"detection.data": data, "device": "cpu"})
        assert config.own.data == kept
    config = load_config(None, {"detection.data": "coco:set", "device": "cpu"})
    with RunStore.create(folder.parent / "run", config.model_dump(mode="json")) as store:
        assert Session(config).check(store, RunStatus(), Silent()) == ()
        assert Session(config).check(store, RunStatus(), Silent()) == ()
        _edit(folder / "val.json", lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 4]))
        with pytest.raises(RunError, match=r"coco:.*set holds other data than the run began with"):
            Session(config).check(store, RunStatus(), Silent())
        (folder / "val.json").unlink()
        with pytest.raises(NothingDone, match="no validation split"):
            Session(config).check(store, RunStatus(), Silent())


def test_the_three_layouts_give_the_same_training(tmp_path: Path) -> None:
    from cse_autoloss.losses import load_loss
    from cse_autoloss.settings.tasks.detection import DetectionSettings
    from cse_autoloss.tasks.detection import DetectionTask
    from cse_autoloss.tasks.protocol import Schedule

    made, weights = sample(3), []
    write_coco(made, tmp_path / "coco", "coco", HARMLESS_COCO["other order"])
    write_yolo(made, tmp_path / "yolo", lambda split, name, lines: None)
    write_voc(made, tmp_path / "voc", lambda split, name, text: text)
    for layout in ("coco", "yolo", "voc"):
        task = DetectionTask(DetectionSettings(data=str(tmp_path / layout), image_size=48, batch=2))
        losses = {
            slot: load_loss(name, task.slots[slot].name, "sum") for slot, name in task.baselines[0].items()
        }
        run = task.training(losses, seed=0, epochs=1, settings={})
        run.advance(run.steps)
        weights.append(torch.cat([one.flatten() for one in run.model.state_dict().values()]))
        assert task.train(losses, seed=0, schedule=Schedule(1), settings={}, split="test").status == "ok"
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
