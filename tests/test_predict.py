"""`predict`: from a run to pictures; weights that are kept, matching, mistakes in one line."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cse_autoloss.bench.budget import AuditSize, RunSize
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.session import SEEDS_OF_AUDIT
from cse_autoloss.detectors.selection import Detections
from cse_autoloss.errors import AutoLossError, RunError, UnknownNameError
from cse_autoloss.losses import load_loss
from cse_autoloss.pages import fonts
from cse_autoloss.predict import predict_images
from cse_autoloss.predict.draw import draw, grid
from cse_autoloss.predict.photographs import Picture
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.matching import Found, Objects, best_threshold, match
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.splits import Split

# -- matching ------------------------------------------------------------------------------------------------


def found(*rows: tuple[tuple[float, float, float, float], int, float]) -> Found:
    boxes, labels, scores = zip(*rows, strict=True)
    return Found(np.array(boxes, dtype=np.float32), np.array(labels), np.array(scores))


TRUTH = Objects(np.array([[0, 0, 10, 10], [20, 20, 30, 30]], dtype=np.float32), np.array([0, 1]))


def test_the_best_detection_takes_the_object() -> None:
    detections = found(
        ((0, 0, 10, 9), 0, 0.9),
        ((0, 0, 10, 10), 0, 0.8),  # better placed, but the object is taken
        ((20, 20, 30, 30), 0, 0.7),  # another class
        ((20, 20, 30, 25), 1, 0.6),  # an IoU of 0.5 exactly
    )
    assert match(detections, TRUTH).tolist() == [0, -1, -1, 1]
    assert match(detections, TRUTH, iou=0.6).tolist() == [0, -1, -1, -1]


def test_nothing_found_and_nothing_there() -> None:
    none = Objects(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))
    assert match(found(((0, 0, 1, 1), 0, 0.5)), none).tolist() == [-1]
    empty = Found(none.boxes, none.labels, np.zeros(0))
    assert match(empty, TRUTH).tolist() == []


def one_image(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        torch.tensor([boxes]), torch.tensor([scores], dtype=torch.float64).log(), torch.tensor([labels])
    )


def test_the_threshold_is_where_f1_is_highest() -> None:
    split = Split(
        np.zeros((1, 3, 32, 32), dtype=np.uint8),
        TRUTH.boxes[None],
        TRUTH.labels[None],
        np.zeros((1, 2), dtype=bool),
    )
    right, wrong = [0.0, 0.0, 10.0, 10.0], [12.0, 0.0, 16.0, 5.0]
    detections = one_image(
        [right, wrong, [20.0, 20.0, 30.0, 30.0], wrong], [0.9, 0.5, 0.4, 0.1], [0, 0, 1, 1]
    )
    # F1 at 0.9: 2/3, at 0.5: 2/4, at 0.4: 4/5, at 0.1: 4/6.
    assert best_threshold(detections, split) == pytest.approx(0.4)
    assert best_threshold(one_image([wrong], [1.0], [-1]), split) == 0.5


# -- drawing -------------------------------------------------------------------------------------------------


def test_right_wrong_and_missed_are_counted_and_look_different() -> None:
    plain = Image.new("RGB", (200, 160), (120, 120, 120))
    boxes = np.array([[10, 30, 60, 80], [100, 30, 160, 90]], dtype=np.float32)
    picture = Picture("one", plain, 1.0, Objects(boxes, np.array([0, 0])))
    drawn = draw(picture, found(((10, 30, 60, 80), 0, 0.9), ((100, 100, 150, 140), 0, 0.3)), ("cell",))
    assert (drawn.right, drawn.wrong, drawn.missed) == (1, 1, 1)
    assert drawn.image.width == 200
    assert drawn.image.height > 160, "a line stands below"
    pixels = np.asarray(drawn.image).reshape(-1, 3)
    for colour in ((0, 90, 181), (215, 0, 0), (255, 225, 0)):
        assert (pixels == colour).all(axis=1).any()
    unknown = draw(Picture("one", plain, 1.0, None), found(((10, 30, 60, 80), 0, 0.9)), ("cell",))
    assert (unknown.right, unknown.wrong, unknown.missed) == (0, 0, 0)
    page = grid([drawn, unknown], "title", "below", columns=3, width=150)
    assert page.width < 2 * 150 + 100


# -- the whole -----------------------------------------------------------------------------------------------


def photographs(folder: Path, classes: tuple[str, ...] = ("light", "dark")) -> Path:
    """A folder in COCO's format: squares on grey, light ones and dark ones."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, count in (("train", 24), ("val", 8)):
        images, annotations = [], []
        for row in range(count):
            pixels = np.full((48, 64, 3), 128, dtype=np.uint8)
            for column in range(2):
                x, y = 32 * column + int(generator.integers(0, 12)), int(generator.integers(0, 28))
                pixels[y : y + 18, x : x + 18] = (240, 20)[column % len(classes)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": row + 1,
                        "category_id": column % len(classes) + 1,
                        "bbox": [x, y, 18, 18],
                    }
                )
            Image.fromarray(pixels).save(folder / f"{name}{row}.png")
            images.append({"id": row + 1, "file_name": f"{name}{row}.png", "width": 64, "height": 48})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i + 1, "name": own} for i, own in enumerate(classes)],
        }
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@dataclass
class Run:
    directory: Path
    data: Path
    winner: str


EPOCHS = 2.0
DETECTION = {"detection.image_size": 64, "detection.batch": 8}


def losses(cls: str, reg: str, alpha: float | None, box_weight: float, lr: float) -> LossSet:
    return LossSet.of({"cls": cls, "reg": reg}, alpha, {"box_weight": box_weight, "lr": lr})


def entry(name: str, pair: LossSet) -> dict[str, Any]:
    return {"name": name, "losses": pair.losses, "settings": pair.tuned}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What a search leaves behind, as far as `predict` reads it: configuration, summary, size, the audit's scores."""
    base = tmp_path_factory.mktemp("predict")
    data = photographs(base / "data")
    config = load_config(None, {**DETECTION, "detection.data": f"coco:{data}", "budget": "1m"})
    winner = losses("Neg(Mul(Add(Q,NY),Log(Sig(Mul(X,Sub(PY,NY))))))", "iou", 0.25, 4.0, 0.1)
    plain = losses("bce", "giou", None, 2.0, 0.15)
    task = DetectionTask(config.own)
    seed = SEEDS_OF_AUDIT
    scored = task.train(
        {
            "cls": load_loss(winner["cls"], "cls-binary", "sum", alpha=0.25),
            "reg": load_loss("iou", "reg", "sum"),
        },
        seed=seed,
        schedule=Schedule(EPOCHS),
        settings={"box_weight": 4.0, "lr": 0.1},
        split="test",
    )
    training = Training("audit", winner, seed, EPOCHS, "test")
    with RunStore.create(base / "run", config.model_dump(mode="json")) as store:
        audit = AuditSize(winners=2, baselines=1, tuning=1, tune_epochs=EPOCHS, seeds=1, epochs=EPOCHS)
        store.set_meta("size", asdict(RunSize(60.0, EPOCHS, 1.0, 4, 1, audit, ())))
        store.set_meta(
            "summary",
            {
                "best": entry("", winner) | {"alpha": 0.25},
                "winners": [
                    entry("discovered 2", plain.with_settings({"box_weight": 1.0, "lr": 0.1})),
                    entry("discovered 1", winner),
                ],
                "baselines": [entry("bce + giou", plain)],
            },
        )
        store.add_score(training.score("ok", asdict(scored), "", 1.0))
    return Run(base / "run", data, "discovered 1")


def test_it_draws_what_the_audit_scored_and_keeps_the_weights(run: Run) -> None:
    notes: list[str] = []
    first = predict_images(run.directory, note=notes.append)
    assert first.name == run.winner
    assert len(notes) == 1
    assert "training" in notes[0]
    assert first.ap is not None
    assert first.ap.ap == pytest.approx(first.test_ap), "the very detector that the audit scored"
    assert first.split == "test"
    assert [path.name for path in first.files] == ["grid.png", *(f"{n:04d}.png" for n in range(1, 5))]
    with Image.open(first.files[1]) as opened:
        assert opened.width == 640
    assert len(list((run.directory / "weights").glob("*.pt"))) == 1

    again = predict_images(run.directory, note=notes.append, count=2)
    assert len(notes) == 1, "the kept weights were read"
    assert again.ap == first.ap
    assert len(again.files) == 3
    assert not (run.directory / "predictions" / "0003.png").exists(), "older pictures are gone"


def test_other_losses_splits_scores_and_folders(run: Run, tmp_path: Path) -> None:
    plain = predict_images(run.directory, loss="bce + giou", split="val", score=0.9, out=tmp_path)
    assert (plain.name, plain.split, plain.score, plain.chosen) == ("bce + giou", "val", 0.9, False)
    assert plain.test_ap is None
    assert all(path.parent == tmp_path for path in plain.files)
    assert (
        predict_images(run.directory, score=0.0, out=tmp_path).wrong
        > predict_images(run.directory, score=1.0, out=tmp_path).wrong
    )


def test_single_photographs_of_any_size(run: Run, tmp_path: Path) -> None:
    for name, size in (("wide.png", (300, 20)), ("tall.jpg", (31, 97)), ("pixel.png", (1, 1))):
        Image.new("RGB", size, (128, 128, 128)).save(tmp_path / name)
    result = predict_images(
        run.directory, [tmp_path / n for n in ("wide.png", "tall.jpg", "pixel.png")], out=tmp_path / "out"
    )
    assert (result.ap, result.right) == (None, None)
    assert len(result.files) == 4
    told = json.loads((tmp_path / "out" / "detections.json").read_text(encoding="utf-8"))
    assert [one["file_name"] for one in told["images"]] == [one["image"] for one in result.detections]
    assert len(told["annotations"]) == sum(len(one["boxes"]) for one in result.detections) > 0
    for one in told["annotations"]:
        width, height = ((300, 20), (31, 97), (1, 1))[one["image_id"] - 1]
        x, y, w, h = one["bbox"]
        assert 0 <= x <= x + w <= width + 0.02
        assert 0 <= y <= y + h <= height + 0.02
        assert 0 < one["score"] <= 1
    again = predict_images(run.directory, [tmp_path / "*.png", tmp_path / "tall.jpg"], out=tmp_path / "again")
    assert [Path(one["image"]).name for one in again.detections] == ["pixel.png", "wide.png", "tall.jpg"]
    with pytest.raises(AutoLossError, match=r"\*\.gif: no such file"):
        predict_images(run.directory, [tmp_path / "*.gif"])
    with Image.open(result.files[2]) as opened:
        assert opened.height > 640


def test_another_folder_with_the_same_classes(run: Run, tmp_path: Path) -> None:
    same = photographs(tmp_path / "same")
    assert predict_images(run.directory, data=f"coco:{same}", out=tmp_path / "out").test_ap is None
    one = photographs(tmp_path / "one", ("light",))
    with pytest.raises(AutoLossError, match="1 classes"):
        predict_images(run.directory, data=f"coco:{one}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "bce + gio"}, "unknown loss of this run 'bce + gio'; did you mean 'bce + giou'"),
        ({"split": "tst"}, "did you mean 'test'"),
        ({"score": 1.5}, "score: expected a number from 0 to 1, got 1.5"),
        ({"count": 0}, "count: expected at least 1"),
        ({"images": ["nothing.png"]}, "nothing.png: no such file"),
        ({"data": "coco:nowhere"}, "nowhere: no such folder"),
    ],
)
def test_mistakes(run: Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AutoLossError, match=re.escape(message)) as error:
        predict_images(run.directory, **arguments)
    assert "\n" not in str(error.value)


def test_no_run_and_a_run_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        predict_images(tmp_path / "nothing")
    with RunStore.create(tmp_path / "young", load_config(None).model_dump(mode="json")) as store:
        with pytest.raises(RunError, match="has no result yet"):
            predict_images(tmp_path / "young")
        store.set_meta("summary", {"best": None})
    with pytest.raises(RunError, match="found no loss"):
        predict_images(tmp_path / "young")
    RunStore.create(tmp_path / "compared", {"compare": {}}).close()
    with pytest.raises(RunError, match="compared: a comparison; pictures are drawn of what a search found"):
        predict_images(tmp_path / "compared")


def test_pictures_never_take_the_place_of_other_files(run: Run, tmp_path: Path) -> None:
    photograph = tmp_path / "0001.png"
    Image.new("RGB", (40, 30)).save(photograph)
    before = photograph.read_bytes()
    with pytest.raises(AutoLossError, match="holds the photographs themselves"):
        predict_images(run.directory, [photograph], out=tmp_path)
    with pytest.raises(AutoLossError, match=r"0001\.png is none of our pictures"):
        predict_images(run.directory, out=tmp_path)
    assert photograph.read_bytes() == before


def test_no_sign_of_a_name_is_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_fonts", lambda: [fonts._own()])
    fonts.font_file.cache_clear()
    names, line = fonts.shown_names(["猫", "кот", "قطة", "बिल्ली", "a\ud800"])
    assert names == ["class 0", "кот", "قطة", "class 3", "class 4"]
    assert line.endswith("pictures show numbers: 0 is 猫, 3 is बिल्ली, 4 is a\\ud800")
    assert fonts.fitting("✗ 猫.png", 13)[1] == "✗ \\u732b.png"
    other = Path("of a script.ttf")
    monkeypatch.setattr(fonts, "_fonts", lambda: [fonts._own(), other])
    monkeypatch.setattr(fonts, "_font", lambda file, size: file)
    signs = {fonts._own(): frozenset(map(ord, "a✗ ")), other: frozenset(map(ord, "猫x "))}
    monkeypatch.setattr(fonts, "_signs", signs.get)
    fonts.font_file.cache_clear()
    assert fonts.fitting("✗ 猫", 13) == (other, "x 猫")
    fonts.font_file.cache_clear()


def test_a_file_that_is_no_image(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(AutoLossError, match=r"text\.png does not decode"):
        predict_images(run.directory, [tmp_path / "text.png"], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cut", "can not be read"),
        ("pickle", "can not be read"),
        ("detector", "detector: the weights have 'two-stage', the run 'one-stage'"),
        ("classes", "number of classes: the weights have 1, the run 2"),
        ("state", "do not fit the detector 'one-stage'"),
        ("format", "format: the weights have 2, the run 1"),
    ],
)
def test_weights_that_do_not_fit(run: Run, change: str, message: str, tmp_path: Path) -> None:
    predict_images(run.directory, out=tmp_path)
    path = next(p for p in (run.directory / "weights").glob("*.pt") if "bce" not in p.name)
    kept = path.read_bytes()
    content = torch.load(path, weights_only=True)
    if change == "cut":
        path.write_bytes(kept[: len(kept) // 2])
    elif change == "pickle":
        torch.save({**content, "more": Path("x")}, path)
    else:
        bad: dict[str, Any] = {"detector": "two-stage", "classes": ["light"], "state": {}, "format": 2}
        torch.save({**content, change: bad[change]}, path)
    try:
        with pytest.raises(RunError, match=message) as error:
            predict_images(run.directory, out=tmp_path)
        assert "delete the file to train anew" in str(error.value)
    finally:
        path.write_bytes(kept)


def test_an_unknown_name_is_told(run: Run) -> None:
    with pytest.raises(UnknownNameError):
        predict_images(run.directory, loss="nothing at all")
