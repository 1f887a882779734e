"""`init` looks at data and writes a configuration that a run takes; what is wrong with the data is one line."""

from __future__ import annotations

from pathlib import Path

import boxed_samples
import numpy as np
import pytest
from PIL import Image

import cse_autoloss
from cse_autoloss.errors import AutoLossError, ConfigError, DataError
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.registry import section_of


def pictures(folder: Path, count: int = 6) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def table(path: Path, names: str = "a,b: #1,price") -> Path:
    path.write_text("\n".join([names, *(f"{i},{i % 7},{2 * i}" for i in range(60))]) + "\n")
    return path


def test_a_table(tmp_path: Path) -> None:
    file = cse_autoloss.init_config(table(tmp_path / "t.csv"), out=tmp_path / "mine.yaml", budget="5m")
    config = load_config(file, {}, section_of)
    assert (config.task, config.budget, config.own.target, config.own.outliers) == (
        "regression",
        300,
        "price",
        0.0,
    )
    assert config.own.data == f"csv:{tmp_path / 't.csv'}"
    text = file.read_text()
    assert "there are a, b: #1, price" in text
    assert all("#" in line for line in text.splitlines() if line.startswith("  "))


def test_folders_of_images_by_class(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            pictures(tmp_path / "data" / split / name)
    config = load_config(cse_autoloss.init_config(tmp_path / "data", out=tmp_path / "c.yaml"), {}, section_of)
    assert (config.task, config.own.data) == ("classification", f"folder:{tmp_path / 'data'}")


@pytest.mark.parametrize("layout", ["roboflow", "yolo", "voc"])
def test_photographs_with_boxes_in_any_layout(layout: str, tmp_path: Path) -> None:
    made, root = boxed_samples.sample(0), tmp_path / "data"
    if layout == "yolo":
        boxed_samples.write_yolo(made, root, lambda *_: None)
    elif layout == "voc":
        boxed_samples.write_voc(made, root, lambda split, name, text: text)
    else:
        boxed_samples.write_coco(made, root, layout, lambda *_: None)
    file = cse_autoloss.init_config(root, out=tmp_path / "d.yaml")
    config = load_config(file, {}, section_of)
    assert (config.task, config.own.data) == ("detection", str(root))
    assert "of 2 classes" in file.read_text()


def test_embedded_data_of_a_task(tmp_path: Path) -> None:
    file = cse_autoloss.init_config(task="regression", out=tmp_path / "r.yaml")
    assert load_config(file, {}, section_of).task == "regression"


def test_mistakes_are_told_and_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "x.yaml"
    with pytest.raises(DataError, match="none of the known layouts"):
        cse_autoloss.init_config(tmp_path, out=out)
    with pytest.raises(DataError, match="no such file or folder"):
        cse_autoloss.init_config(tmp_path / "nowhere", out=out)
    with pytest.raises(ConfigError, match="looks like data for regression, not for detection"):
        cse_autoloss.init_config(table(tmp_path / "t.csv"), task="detection", out=out)
    with pytest.raises(AutoLossError, match="20 are needed"):
        cse_autoloss.init_config(_short(tmp_path), out=out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        cse_autoloss.init_config(table(tmp_path / "t.csv"), out=out)
    assert out.read_text() == "mine"


def _short(folder: Path) -> Path:
    path = folder / "short.csv"
    path.write_text("a,b\n1,2\n")
    return path
