"""Folders of images, CIFAR and pairs as people have them: read, or told what is left out; never a wrong number."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import mutated_folders
import numpy as np
import pytest
import torch
from PIL import Image

from cse_autoloss.api.recognised import recognise
from cse_autoloss.errors import DataError, RunError
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.tasks.cifar import read_cifar
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.data_digest import digest_of
from cse_autoloss.tasks.faces import FacesTask
from cse_autoloss.tasks.identities import locate_pairs, make_pairs, read_identities
from cse_autoloss.tasks.image_files import LabelledImages, read_folder, read_image
from cse_autoloss.tasks.image_listing import list_images
from cse_autoloss.tasks.image_splits import ImageSplits, load_splits, notes_on
from cse_autoloss.tasks.photographs import Source, load_dataset
from cse_autoloss.tasks.plain_pickle import read_plain_pickle
from cse_autoloss.tasks.ranking import re_rank
from cse_autoloss.tasks.stacked import augment
from cse_autoloss.tasks.verification import verification_accuracy


def _image(path: Path, value: int = 7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)


def test_nested_and_unusual_images_are_read_and_systems_files_are_not(tmp_path: Path) -> None:
    for name in ("0.png", "part2/1.tif", "part2/2.TIFF", "3.JPG", "4.jfif"):
        path = tmp_path / "train" / "a" / name
        _image(path.with_suffix(".jpg") if path.suffix == ".jfif" else path)
        if path.suffix == ".jfif":
            path.with_suffix(".jpg").rename(path)
        _image(tmp_path / "train" / "b" / "x.png")
    for name in ("a/._0.png", "__MACOSX/a/0.png", ".thumbs/0.png", "b/Thumbs.db"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\26\7")
    images, names = read_folder(tmp_path / "train", 8)
    assert names == ("a", "b")
    assert np.bincount(images.labels).tolist() == [5, 1]


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    _image(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [path.name for path in list_images(tmp_path).images] == ["0.png"]


def test_labelled_images_are_turned_and_keep_their_16_bits(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 200
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.fromarray(pixels[::-1].copy()).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("turned", "deep"):
        assert np.array_equal(read_image(tmp_path / f"{name}.png", (8, 8), grey=True)[0], pixels)


def test_labels_that_can_not_be_right_are_told(tmp_path: Path) -> None:
    for at, place in enumerate(("train/a", "train/b", "train/unlabelled", "test/a", "test/b")):
        for number in range(3):
            _image(tmp_path / place / f"{number}.png", 10 * at + number)
    _image(tmp_path / "train" / "b" / "again.png", 1)  # 1.png of a
    data = f"folder:{tmp_path}"
    assert ClassificationTask(ClassificationSettings(data=data, image_size=8)).check() == (
        "test has no image of 1 of the 3 classes, the first: unlabelled; its scores tell nothing of them",
        "warning: 1 images stand in two classes, the first: again.png of b in a too; one of the two is wrong",
    )
    (tmp_path / "test" / "b").rename(tmp_path / "test" / "B")
    with pytest.raises(
        DataError, match="test/B: a class that the training images do not have; did you mean 'b'"
    ):
        load_splits(data, image_size=8)


def test_images_beside_their_masks_are_no_two_classes(tmp_path: Path) -> None:
    for name in ("images", "Labels"):
        for number in range(5):
            _image(tmp_path / name / f"{number}.png", number)
    with pytest.raises(DataError, match=r"are these masks in Labels/\? expected images/ and masks/"):
        recognise(str(tmp_path))
    (tmp_path / "images").rename(tmp_path / "cats")
    assert recognise(str(tmp_path)) == ("classification", f"folder:{tmp_path}")


def test_splits_by_what_people_call_them(tmp_path: Path) -> None:
    def splits() -> list[int]:
        found = load_splits(f"folder:{tmp_path}", image_size=8)
        return [len(part) for part in (found.train, found.val, found.test)]

    for number, (split, count) in enumerate((("Train", 6), ("valid", 2))):
        for name in ("a", "b"):
            for at in range(count):
                _image(tmp_path / split / name / f"{at}.png", 40 * number + at)
    assert splits() == [12, 2, 2]
    data = f"folder:{tmp_path}"
    assert notes_on(data) == (f"{tmp_path}: no test split: valid was split in two halves, class by class",)
    for name in ("a", "b"):
        _image(tmp_path / "testing" / name / "0.png", 3)
    assert splits() == [12, 4, 2]
    told = ClassificationTask(ClassificationSettings(data=data, image_size=8)).check()
    assert told[0].startswith("warning: 2 of the 2 images of test stand in train too, the first: 0.png")
    with pytest.raises(DataError, match=r"classes have no boxes; .*reinforce --data folder:"):
        load_dataset(Source.of(str(tmp_path)))
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="val and valid may both be val"):
        splits()
    (tmp_path / "val").rename(tmp_path / "classes")
    (tmp_path / "Train").rename(tmp_path / "other")
    with pytest.raises(DataError, match=r"no train split; expected .*found classes, other, testing, valid"):
        splits()


@pytest.mark.parametrize("name", [*mutated_folders.HARMLESS, *mutated_folders.FAULTS])
def test_mutated_folders(name: str, tmp_path: Path) -> None:
    assert mutated_folders.verdict(name, 0, tmp_path) == ""


def test_files_that_are_no_images_are_told(tmp_path: Path) -> None:
    _image(tmp_path / "train" / "a" / "0.png")
    (tmp_path / "train" / "a" / "list.txt").write_text("x")
    (tmp_path / "train" / "a" / "raw.cr2").write_text("x")
    (note,) = ClassificationTask(ClassificationSettings(data=f"folder:{tmp_path}")).notes
    assert "train: 2 files left out" in note
    assert note.endswith("the first: a/list.txt")


def _pickled(path: Path, content: Any, protocol: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_of_python_reads_as_its_arrays(tmp_path: Path, protocol: int) -> None:
    source = np.random.default_rng(0)
    home, parts = tmp_path / "cifar-10-batches-py", []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        parts.append(source.integers(0, 256, (4, 3072), dtype=np.uint8))
        _pickled(
            home / name, {b"data": parts[-1], b"labels": [0, 9, 3, 1], b"filenames": [b"x"] * 4}, protocol
        )
    _pickled(home / "batches.meta", {b"label_names": [b"%d!" % i for i in range(10)]}, protocol)
    train, test, names = read_cifar(tmp_path)
    assert np.array_equal(train.pixels.reshape(20, -1), np.concatenate(parts[:5]))
    assert np.array_equal(test.pixels.reshape(4, -1), parts[5])
    assert (test.labels.tolist(), names[9]) == ([0, 9, 3, 1], "9!")


def test_cifar_100_in_both_versions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        _pickled(
            tmp_path / "py" / name, {"data": pixels, "fine_labels": [99, 0, 5], "coarse_labels": [1, 2, 3]}, 4
        )
        (tmp_path / "bin").mkdir(exist_ok=True)
        head = np.array([[1, 99], [2, 0], [3, 5]], np.uint8)
        (tmp_path / "bin" / f"{name}.bin").write_bytes(np.concatenate((head, pixels), 1).tobytes())
    (one, _, names), (other, _, _) = (read_cifar(tmp_path / kind, "cifar100") for kind in ("py", "bin"))
    assert one.labels.tolist() == other.labels.tolist() == [99, 0, 5]
    assert np.array_equal(one.pixels, other.pixels)
    assert len(names) == 100


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize("content", [_Harmful(), Path("x"), np.array([None]), np.array(["a"]), {1, 2}])
def test_a_pickle_of_anything_else_is_refused_and_not_run(
    content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="x: not a pickle of plain data"):
        read_plain_pickle(pickle.dumps({"data": content}), "x")
    assert capsys.readouterr().out == ""


def test_a_pickle_that_is_cut_off_is_refused() -> None:
    whole = pickle.dumps({"data": np.arange(50)})
    for cut in range(0, len(whole) - 1, 7):
        with pytest.raises(DataError):
            read_plain_pickle(whole[:cut], "x")


def test_mean_and_deviation_are_of_all_images_in_any_order() -> None:
    pixels = np.zeros((2600, 1, 2, 2), np.uint8)
    pixels[2200:] = 200
    scales = []
    for order in (np.arange(2600), np.arange(2600)[::-1]):
        images = LabelledImages(pixels[order], (order >= 2200).astype(np.int64))
        task = ClassificationTask(ClassificationSettings())
        task.__dict__["splits"] = ImageSplits(images, images, images, ("a", "b"))
        scales.append(task._scale)
    exact = torch.from_numpy(pixels).double() / 255
    assert scales[0] == scales[1]
    assert scales[0][0].item() == pytest.approx(exact.mean().item(), rel=1e-6)
    assert scales[0][1].item() == pytest.approx(exact.std().item(), rel=1e-3)


def test_augmented_colour_images_lie_as_vmap_needs_them() -> None:
    assert augment(torch.rand(3, 3, 16, 8), torch.Generator().manual_seed(0)).is_contiguous()


def _people(folder: Path, count: int = 12, photos: tuple[int, ...] = (1, 3, 4)) -> Path:
    for person in range(count):
        for number in photos:
            _image(folder / f"P{person}" / f"P{person}_{number:04d}.png", 10 * person + number)
    return folder


def test_a_photograph_is_found_by_its_number_not_by_its_place(tmp_path: Path) -> None:
    _image(_people(tmp_path) / "P0" / "P0_0001_1.png")  # a second face of photograph 1
    people = read_identities(f"folder:{tmp_path}", (8, 8))
    first, second, same = locate_pairs([("P0", 1, "P0", 3), ("P0", 4, "P1", 1)], people, "pairs.txt")
    assert [people.files[i] for i in (*first, *second)] == [
        "P0_0001.png", "P0_0004.png", "P0_0003.png", "P1_0001.png",
    ]  # fmt: skip
    assert same.tolist() == [True, False]
    with pytest.raises(
        DataError, match=r"2 photographs are not there; the first: 'P1' has no number 2, only 1, 3, 4"
    ):
        locate_pairs([("P1", 2, "P1", 1), ("P2", 2, "P2", 1)], people, "pairs.txt")


def test_people_with_one_image_are_no_reason_to_stop(tmp_path: Path) -> None:
    _people(tmp_path)
    for person in range(6):
        for number in (3, 4):
            (tmp_path / f"P{person}" / f"P{person}_{number:04d}.png").unlink()
    people = read_identities(f"folder:{tmp_path}", (8, 8))
    assert np.bincount(people.images.labels).min() == 1
    assert "left out" not in " ".join(FacesTask(FacesTask.Settings(data=f"folder:{tmp_path}")).notes)


def test_a_file_of_pairs_that_is_sorted_by_kind_scores_as_a_mixed_one() -> None:
    source = np.random.default_rng(0)
    same = np.repeat([True, False], 100)
    similarity = np.where(same, 0.6, 0.4) + 0.1 * source.standard_normal(200)
    mixed = source.permutation(200)
    scores = [verification_accuracy(similarity[order], same[order]) for order in (np.arange(200), mixed)]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


def test_pairs_are_drawn_without_listing_all_of_them() -> None:
    labels = np.sort(np.random.default_rng(0).integers(0, 900, 6000))
    first, second, same = make_pairs(labels, 400, 1)
    assert (len(same), int(same.sum()), len({*zip(first.tolist(), second.tolist(), strict=True)})) == (
        400,
        200,
        400,
    )
    assert np.array_equal(labels[first] == labels[second], same)
    assert (first < second).all()


def test_re_ranking_equals_the_dense_computation() -> None:
    source = np.random.default_rng(0)
    query, gallery = (source.standard_normal((n, 6)) for n in (7, 40))
    assert np.allclose(re_rank(query, gallery, 8, 3), _dense(query, gallery, 8, 3))


def _dense(query: Any, gallery: Any, k1: int, k2: int, weight: float = 0.3) -> Any:
    """Zhong et al., line by line, with all distances in memory."""
    x = np.concatenate((query, gallery))
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    d = d / d.max(1, keepdims=True)
    order, count = d.argsort(1), len(x)

    def mutual(i: int, k: int) -> set[int]:
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    v = np.zeros((count, count))
    for i in range(count):
        members = set(mutual(i, k1))
        for j in mutual(i, k1):
            other = mutual(j, round(k1 / 2))
            if len(other & mutual(i, k1)) > 2 / 3 * len(other):
                members |= other
        own = sorted(members)
        v[i, own] = np.exp(-d[i, own])
        v[i] /= v[i].sum()
    v = v[order[:, :k2]].mean(1)
    overlap = np.minimum(v[: len(query), None], v[None, len(query) :]).sum(-1)
    return (1 - weight) * (1 - overlap / (2 - overlap)) + weight * d[: len(query), len(query) :]


def test_a_digest_tells_changed_data_from_moved_ones(tmp_path: Path) -> None:
    _people(tmp_path / "one", 2)
    before = digest_of(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert digest_of(tmp_path / "two") == before
    (tmp_path / "two" / "P1").rename(tmp_path / "two" / "Q1")
    renamed = digest_of(tmp_path / "two")
    (tmp_path / "two" / "P0" / "P0_0001.png").unlink()
    assert len({before, renamed, digest_of(tmp_path / "two")}) == 3
    (tmp_path / "large").mkdir()
    content = bytearray(400_000)
    (tmp_path / "large" / "train.bin").write_bytes(content)
    (tmp_path / "two" / "link").symlink_to(tmp_path / "large", target_is_directory=True)
    before = digest_of(tmp_path / "two")
    content[200_000] = 1  # in the middle, with the same size
    (tmp_path / "large" / "train.bin").write_bytes(content)
    assert digest_of(tmp_path / "two") != before


def test_a_run_keeps_the_whole_path_and_refuses_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cse_autoloss.bench.progress import RunStatus, Silent
    from cse_autoloss.bench.session import Session
    from cse_autoloss.runs import RunStore
    from cse_autoloss.settings.load import load_config

    for split in ("train", "test"):
        _people(tmp_path / "in" / "ok" / split, 2)
    monkeypatch.chdir(tmp_path / "in")
    session = Session(load_config("classification", {"classification.data": "folder:ok"}))
    assert session.config.own.data == f"folder:{tmp_path / 'in' / 'ok'}"
    monkeypatch.chdir(tmp_path)
    with RunStore.create(tmp_path / "run", session.config.model_dump(mode="json")) as store:
        session.check(store, RunStatus(), Silent())
        session.check(store, RunStatus(), Silent())
        (tmp_path / "in" / "ok" / "train" / "P0" / "P0_0001.png").unlink()
        with pytest.raises(RunError, match="holds other data than the run began with"):
            session.check(store, RunStatus(), Silent())
