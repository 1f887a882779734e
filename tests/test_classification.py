"""Classification data and task: readers of real formats, label noise, accuracy."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cse_autoloss.api.recognised import recognise
from cse_autoloss.classifiers import ModelStack
from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.cifar import read_cifar
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.image_files import LabelledImages, read_folder, read_idx, read_image
from cse_autoloss.tasks.image_splits import hold_out, load_splits, notes_on, with_label_noise
from cse_autoloss.tasks.stacked import augment


def test_digits_are_split_by_who_wrote_them_whatever_the_seed() -> None:
    splits, other = load_splits("digits", seed=1), load_splits("digits", seed=2)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [915, 372, 510]
    assert splits.train.pixels.shape[1:] == (1, 8, 8)
    assert splits.train.pixels.max() == 255
    assert np.array_equal(splits.test.pixels, other.test.pixels)
    few = [load_splits("digits", train_limit=100, draw=draw).train.pixels for draw in (0, 1)]
    assert not np.array_equal(*few)


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_label_noise_is_on_train_alone_and_never_keeps_a_label(share: float) -> None:
    clean, noisy = load_splits("digits", seed=3), load_splits("digits", seed=3, label_noise=share)
    changed = clean.train.labels != noisy.train.labels
    assert changed.sum() == noisy.flipped == round(915 * share)
    assert np.array_equal(clean.val.labels, noisy.val.labels)
    assert np.array_equal(clean.test.labels, noisy.test.labels)
    assert noisy.train.labels.min() == 0
    assert noisy.train.labels.max() == 9
    assert np.array_equal(noisy.train.labels, with_label_noise(clean, share, 3).train.labels)


def _cifar(folder: Path, records: int = 6) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    source = np.random.default_rng(0)
    content = source.integers(0, 256, (6, records, 3073), dtype=np.uint8)
    content[..., 0] = np.arange(records) % 10
    for part, name in zip(
        content, [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], strict=True
    ):
        part.tofile(folder / name)
    return content


def test_cifar_binary(tmp_path: Path) -> None:
    content = _cifar(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    for folder in (tmp_path, tmp_path / "cifar-10-batches-bin"):
        train, test, names = read_cifar(folder)
        assert (len(train), len(test), names) == (30, 6, tuple("abcdefghij"))
        assert np.array_equal(train.pixels[7], content[1, 1, 1:].reshape(3, 32, 32))
        assert test.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_faulty_cifar_file_is_named(tmp_path: Path) -> None:
    content = _cifar(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes(content[2].tobytes()[:-100])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: 18338 bytes are no whole number .* cut off"):
        read_cifar(tmp_path)
    content[2, 4, 0] = 10
    content[2].tofile(path)
    with pytest.raises(DataError, match=r"data_batch_3\.bin: item 4 has label 10; labels run from 0 to 9"):
        read_cifar(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: No such file"):
        read_cifar(tmp_path)


def _idx(path: Path, values: np.ndarray) -> None:
    head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(head + values.tobytes())


def test_idx_files(tmp_path: Path) -> None:
    pixels = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    _idx(tmp_path / "train-images-idx3-ubyte", pixels)
    _idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 1, 0, 1], np.uint8))
    _idx(tmp_path / "t10k-images-idx3-ubyte", pixels[:2])
    _idx(tmp_path / "t10k-labels-idx1-ubyte", np.array([1, 0], np.uint8))
    packed = tmp_path / "t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(gzip.compress((tmp_path / "t10k-labels-idx1-ubyte").read_bytes()))
    train, test, names = read_idx(tmp_path)
    assert np.array_equal(train.pixels[:, 0], pixels)
    assert (test.labels.tolist(), names) == ([1, 0], ("0", "1"))
    splits = load_splits(f"idx:{tmp_path}", val_share=0.5)
    assert sorted(splits.val.labels.tolist()) == [0, 1]

    for place, spelt in (("raw", "-idx"), ("", ".idx")):  # as torchvision keeps them, and as Kaggle has them
        other = tmp_path / f"other{spelt}"
        (other / place).mkdir(parents=True)
        for path in tmp_path.glob("*-ubyte*"):
            (other / place / path.name.replace("-idx", spelt)).write_bytes(path.read_bytes())
        assert np.array_equal(read_idx(other)[0].pixels, train.pixels)
        assert recognise(str(other)) == ("classification", f"idx:{other}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte or \S+ here or in raw"):
        read_idx(tmp_path / "empty")

    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a whole gzip file"):
        read_idx(tmp_path)
    packed.unlink()
    _idx(tmp_path / "t10k-labels-idx1-ubyte", np.array([1, 2], np.uint8))
    with pytest.raises(DataError, match="item 1 has label 2; labels run from 0 to 1"):
        read_idx(tmp_path)
    _idx(tmp_path / "t10k-labels-idx1-ubyte", np.array([1], np.uint8))
    with pytest.raises(DataError, match="t10k has 2 images but 1 labels"):
        read_idx(tmp_path)
    whole = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"expected 120 values for shape \(4, 5, 6\), got 119"):
        read_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x0d\x03" + whole[4:])
    with pytest.raises(DataError, match="not an idx file of bytes"):
        read_idx(tmp_path)


def _folder(root: Path, counts: dict[str, int]) -> None:
    source = np.random.default_rng(1)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(source.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(root / name / f"{i}.png")


def test_folders_of_images(tmp_path: Path) -> None:
    _folder(tmp_path / "train", {"cat": 4, "ant": 3})
    _folder(tmp_path / "test", {"cat": 1, "ant": 2})
    splits = load_splits(f"folder:{tmp_path}", image_size=8, val_share=0.3)
    assert splits.class_names == ("ant", "cat")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [5, 2, 3]
    assert splits.train.pixels.shape == (5, 3, 8, 8)
    _folder(tmp_path / "val", {"cat": 1})
    splits = load_splits(f"folder:{tmp_path}", image_size=8, grey=True)
    assert (len(splits.train), splits.val.labels.tolist()) == (7, [1])
    assert splits.val.pixels.shape == (1, 1, 8, 8)


def test_images_are_averaged_over_blocks(tmp_path: Path) -> None:
    _cifar(tmp_path, records=10)
    whole, small = (load_splits(f"cifar10:{tmp_path}", shrink=factor) for factor in (1, 4))
    assert small.train.pixels.shape == (len(whole.train), 3, 8, 8)
    block = whole.test.pixels[2, 1, 4:8, 8:12]
    assert small.test.pixels[2, 1, 1, 2] == round(float(block.mean()))
    assert np.array_equal(small.val.labels, whole.val.labels)


def test_classes_without_splits_are_split_by_chance(tmp_path: Path) -> None:
    """Whatever files are called; what stands there twice is in one part, and so no test image was learnt from."""
    for name, first, copies in (("cat", 0, 1), ("dog", 100, 2)):
        (tmp_path / name).mkdir()
        for at in range(10 * copies):
            image = Image.new("L", (8, 8), first + at % 10)
            image.save(tmp_path / name / f"{at}.png")
    data = f"folder:{tmp_path}"
    splits = load_splits(data, image_size=8, seed=0)
    assert splits.class_names == ("cat", "dog")
    assert [np.bincount(one.labels).tolist() for one in (splits.train, splits.val, splits.test)] == [
        [6, 12], [2, 4], [2, 4],
    ]  # fmt: skip
    seen = [{row.tobytes() for row in part.pixels} for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20
    assert notes_on(data)[0].endswith(
        "has no splits: it was split by chance, 20% of each class for validation and 20% for test"
    )
    assert [len(load_splits(data, image_size=8, val_share=share).val) for share in (0.4, 0.9)] == [12, 21]
    for path in tmp_path.glob("cat/?.png"):
        path.rename(path.with_name(f"renamed-{path.name}"))
    again = load_splits(data, image_size=8, seed=5)
    assert {row.tobytes() for row in again.test.pixels} == seen[2]
    (tmp_path / "cat" / "more").mkdir()
    (tmp_path / "cat" / "renamed-1.png").rename(tmp_path / "cat" / "more" / "1.png")
    with pytest.raises(DataError, match=r"no train split; expected .*CLASS"):
        load_splits(data)


def test_faulty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_splits(f"folder:{tmp_path / 'none'}")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"no test or val split; expected .*found train"):
        load_splits(f"folder:{tmp_path}")
    _folder(tmp_path / "test", {"c": 1})
    with pytest.raises(DataError, match="one folder for each class"):
        load_splits(f"folder:{tmp_path}")
    _folder(tmp_path / "train", {"a": 2, "b": 1})
    with pytest.raises(DataError, match="c: a class that the training images do not have"):
        load_splits(f"folder:{tmp_path}")
    (tmp_path / "test" / "c").rename(tmp_path / "test" / "a")
    with pytest.raises(DataError, match="class 'b' has one image"):
        load_splits(f"folder:{tmp_path}")
    (tmp_path / "val" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="val: no images"):
        load_splits(f"folder:{tmp_path}")
    (tmp_path / "val" / "a" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.jpg does not decode"):
        read_folder(tmp_path / "val", 8)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "y.png", (8, 8))


def test_impossible_settings() -> None:
    with pytest.raises(ConfigError, match="label_noise: expected a share"):
        load_splits("digits", label_noise=1.0)
    with pytest.raises(ConfigError, match="val_share"):
        load_splits("digits", val_share=0.0)
    with pytest.raises(ConfigError, match="data: expected 'digits'"):
        load_splits("cifar10")
    with pytest.raises(DataError, match="expected pixels"):
        LabelledImages(np.zeros((2, 1, 3, 3), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(ConfigError, match="epochs: expected a number of at least 1, got 0"):
        ClassificationSettings(epochs=0)


def test_holding_out_leaves_every_class_on_both_sides() -> None:
    labels = np.repeat(np.arange(3), (2, 10, 5))
    images = LabelledImages(np.zeros((17, 1, 2, 2), np.uint8), labels)
    for share in (0.01, 0.3, 0.99):
        train, val = hold_out(images, ("a", "b", "c"), share, 0, "here")
        assert set(train.labels) == set(val.labels) == {0, 1, 2}
        assert len(train) + len(val) == 17


def test_digits_are_learnt_and_the_epochs_are_reproducible() -> None:
    task = ClassificationTask(ClassificationSettings(epochs=5, lr=0.3))

    def rewards(stack: ModelStack) -> list[float]:
        return [scores["accuracy"] for scores in task.scores(stack, "val")]

    space = AmLfs(scale=10.0)
    theta = torch.tensor(space.start).repeat(2, 1)
    stacks = [task.stack(2, None), task.stack(2, None)]
    for stack in stacks:
        for epoch in range(5):
            task.train_epoch(stack, space, theta, epoch)
    assert min(rewards(stacks[0])) > 0.9
    assert rewards(stacks[0]) == rewards(stacks[1])
    assert stacks[0].weights(0)["head.weight"].equal(stacks[1].weights(0)["head.weight"])
    assert len(set(rewards(stacks[0]))) == 1
    task.train_epoch(stacks[0], space, theta, 0, own_orders=True)
    assert not stacks[0].weights(0)["head.weight"].equal(stacks[0].weights(1)["head.weight"])


def test_a_diverged_model_has_no_reward() -> None:
    task = ClassificationTask(ClassificationSettings(epochs=1))
    space = AmLfs()
    stack = task.stack(2, 30.0)
    task.train_epoch(
        stack, space, torch.tensor(space.start).repeat(2, 1), 0, lr_factor=torch.tensor([1.0, 1e38])
    )
    rewards = [scores["accuracy"] for scores in task.scores(stack, "val")]
    assert math.isfinite(rewards[0])
    assert math.isnan(rewards[1])


def test_augmentation_crops_and_mirrors_and_keeps_shapes() -> None:
    images = torch.arange(2 * 3 * 1 * 8 * 8.0).reshape(2, 3, 1, 8, 8) + 1
    out = augment(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    for before, after in zip(images.flatten(0, 1), out.flatten(0, 1), strict=True):
        padded = torch.nn.functional.pad(before, (1, 1, 1, 1))
        crops = [padded[:, t : t + 8, k : k + 8] for t in range(3) for k in range(3)]
        assert any(after.equal(crop) or after.equal(crop.flip(-1)) for crop in crops)
