"""`data` of the tasks without boxes: what their readers made of files is counted, told and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cse_autoloss.api.data import inspect_data
from cse_autoloss.api.recognised import recognise
from cse_autoloss.api.samples import SamplesReport
from cse_autoloss.cli.data import command
from cse_autoloss.errors import AutoLossError, ConfigError, DataError, UnknownNameError
from cse_autoloss.tasks.photographs.layouts import Source, find_layout

RED = (255, 0, 0)


def paint(path: Path, size: tuple[int, int] = (12, 10), colour: tuple[int, int, int] = RED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def inspected(data: str, out: Path | None = None, **rest: str) -> SamplesReport:
    report = inspect_data(data, out, **rest)  # type: ignore[arg-type]
    assert isinstance(report, SamplesReport)
    return report


def classes(root: Path) -> Path:
    for split, count in (("train", 5), ("test", 2)):
        for at in range(count):
            paint(root / split / "cat" / f"{at}.png", (12 + at, 10), (at, 0, 0))
            paint(root / split / "[dog]" / f"{at}.png", (12, 10), (0, at, 9))
    (root / "train" / "cat" / "notes.txt").write_text("-")
    return root


def test_folders_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = classes(tmp_path / "own"), tmp_path / "looks" / "a.png"
    paint(root / "test" / "cat" / "again.png", (12, 10), (0, 0, 0))
    report = inspected(str(root), out)
    assert (report.task, report.data) == ("classification", f"folder:{root}")
    assert [(one.name, one.count) for one in report.parts] == [("train", 8), ("val", 2), ("test", 5)]
    assert report.parts[2].classes == {"[dog]": 2, "cat": 3}
    assert report.parts[0].size == "32x32 colour"
    notes = "\n".join(report.notes)
    assert "1 file left out" in notes
    assert "of test stand in train too" in notes
    assert "have 5 sizes, 12x10 to 16x10" in notes
    with Image.open(out) as image:
        assert image.size[0] > 900
    assert inspected(f"folder:{root}").digest == report.digest
    command(str(root), tmp_path / "b.png", "val")
    told = capsys.readouterr().out
    assert "[dog]" in told
    assert "Picture: " in told
    with pytest.raises(UnknownNameError, match="unknown split 'tests'; did you mean 'test'"):
        inspect_data(root, split="tests")
    with pytest.raises(UnknownNameError, match="unknown task 'face'; did you mean 'faces'"):
        inspect_data(root, task="face")
    (root / "train" / "cat" / "0.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"cat/0\.png does not decode"):
        inspect_data(root)


def test_people_are_told_by_the_task(tmp_path: Path) -> None:
    for person in range(8):
        for at in range(4):
            paint(tmp_path / f"P{person}" / f"{at}.jpg", colour=(person, at, 0))
    assert sum(one.count for one in inspected(str(tmp_path)).parts) == 32
    for at in (2, 3):
        (tmp_path / "P7" / f"{at}.jpg").unlink()
    with pytest.raises(DataError, match=r"'P7' has 2 different images; 3 are needed.*the task is faces"):
        inspect_data(tmp_path)
    report = inspected(str(tmp_path), task="faces")
    assert [one.count for one in report.parts] == [14, 8, 8]
    assert len(report.parts[0].classes) == 4
    assert report.parts[1].facts == {"pairs of one + two": "12 + 16"}


def test_people_and_cameras(tmp_path: Path) -> None:
    for folder, people in (
        ("bounding_box_train", range(1, 6)),
        ("query", (20, 21)),
        ("bounding_box_test", (-1, 0, 20, 21)),
    ):
        for person in people:
            for camera in (1, 2):
                name = "-1" if person < 0 else f"{person:04d}"
                paint(tmp_path / folder / f"{name}_c{camera}s1_000001_00.jpg", (8, 16))
                paint(tmp_path / folder / f"{name}_c{camera}s1_000002_00.jpg", (8, 16))
    report = inspected(str(tmp_path), tmp_path / "gallery.png", split="test gallery")
    assert report.task == "reid"
    assert [one.name for one in report.parts] == [
        "train", "val queries", "val gallery", "test queries", "test gallery",
    ]  # fmt: skip
    assert report.parts[4].classes == {"distractor": 4, "junk": 4, "person 20": 4, "person 21": 4}
    assert report.parts[4].facts == {"cameras": "2"}
    assert (tmp_path / "gallery.png").is_file()


def test_masks_are_drawn_over_their_images(tmp_path: Path) -> None:
    for at in range(10):
        paint(tmp_path / "images" / f"{at}.png", (16, 16), (100 + at, 0, 0))
        mask = np.zeros((16, 16), dtype=np.uint8)
        mask[:4] = 255
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{at}.png")
    report = inspected(str(tmp_path), tmp_path / "a.png")
    assert [one.count for one in report.parts] == [6, 2, 2]
    assert report.parts[0].facts == {"foreground of an image": "25.0% < 25.0% < 25.0%"}
    with Image.open(tmp_path / "a.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 16) or ()}
    assert any(green > 70 and 45 < red < 70 for red, green, _ in colours if isinstance(red, int))
    assert any(red >= 100 and green == 0 for red, green, _ in colours if isinstance(red, int))


def test_a_table_has_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("\ufeffa;price\n" + "\n".join(f"{at};{2 * at}" for at in range(40)))
    report = inspected(str(file), tmp_path / "a.png")
    assert (report.picture, (tmp_path / "a.png").exists()) == (None, False)
    assert sum(one.count for one in report.parts) == 40
    assert report.parts[0].facts["features"] == "1"
    assert "the target is the last of the columns a, price" in report.notes[0]


def test_what_data_are_is_seen(tmp_path: Path) -> None:
    for files, kind in (
        (("data_batch_1",), "cifar10"),
        (("train.bin", "test.bin"), "cifar100"),
        (("train", "test", "meta"), "cifar100"),
        (("t10k-labels-idx1-ubyte.gz",), "idx"),
    ):
        root = tmp_path / f"{kind}-{len(files)}"
        root.mkdir()
        for name in files:
            (root / name).touch()
        assert recognise(str(root)) == ("classification", f"{kind}:{root}")
    assert recognise("yolo:x") == ("detection", "yolo:x")
    assert recognise("digits", "segmentation") == ("segmentation", "digits")
    with pytest.raises(ConfigError, match="market:x: looks like data for reid, not for faces"):
        recognise("market:x", "faces")
    for data in ("folder:nowhere", "market:nowhere", "csv:nowhere.csv", "idx:nowhere"):
        with pytest.raises(AutoLossError, match=r"nowhere.*[Nn]o such"):
            inspect_data(data)


def test_the_embedded_scenes_are_no_folder_to_look_at() -> None:
    with pytest.raises(ConfigError, match="come with the package"):
        inspect_data("careless-digits", task="detection")
    with pytest.raises(DataError, match="did you mean careless-digits"):
        find_layout(Source.of("careless-digit"))
