"""The embedded scenes: tight boxes, disjoint handwriting, seeds, the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.load import changed
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks import scenes
from cse_autoloss.tasks.handwriting import load_handwriting
from cse_autoloss.tasks.scenes import load_scenes, make_scenes
from cse_autoloss.tasks.splits import Split

SMALL = SceneSettings(counts=(24, 12, 12))


def _equal(a: Split, b: Split) -> bool:
    return all(
        np.array_equal(getattr(a, part), getattr(b, part)) for part in ("images", "boxes", "labels", "crowd")
    )


def test_shapes_and_counts() -> None:
    made = make_scenes(SMALL)
    assert [len(made[name]) for name in scenes.SPLITS] == [24, 12, 12]
    for split in made.values():
        assert split.images.shape[1:] == (1, 64, 64)
        assert split.images.dtype == np.uint8
        objects = (split.labels >= 0).sum(axis=1)
        assert objects.min() >= 1
        assert objects.max() <= SMALL.digits[1]


def test_boxes_are_tight_around_the_ink() -> None:
    """Without noise and neighbours, the ink's box can be read off the picture."""
    alone = changed(
        SMALL,
        {
            "digits": (1, 1),
            "clutter": 0,
            "noise": 0.0,
            "contrast": (1.0, 1.0),
            "counts": (60, 1, 1),
            "class_exponent": 0.0,
        },
    )
    split = make_scenes(alone)["train"]
    background = split.images.min()
    for image, box in zip(split.images[:, 0].astype(float) - background, split.boxes[:, 0], strict=True):
        ink = image >= scenes.INK * image.max() + 1
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        read = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(read - box).max() <= 1
        assert max(box[2:] - box[:2]) <= alone.size[1]


def test_splits_draw_on_disjoint_digits_of_other_forms() -> None:
    _, labels = load_handwriting()
    pools = scenes._disjoint_pools(labels)
    everything = np.concatenate([part for pool in pools for part in pool])
    assert len(everything) == len(np.unique(everything)) == len(labels)
    whole = [np.concatenate(pool) for pool in pools]
    assert whole[0].max() < whole[1].min()
    assert whole[1].max() < whole[2].min()
    for pool in pools:
        for digit, part in enumerate(pool):
            assert (labels[part] == digit).all()


def test_the_seed_decides() -> None:
    first, again, other = make_scenes(SMALL), make_scenes(SMALL), make_scenes(changed(SMALL, {"seed": 1}))
    assert all(_equal(first[name], again[name]) for name in scenes.SPLITS)
    assert not _equal(first["train"], other["train"])


def test_boxes_overlap_no_more_than_allowed() -> None:
    split = make_scenes(changed(SMALL, {"digits": (4, 4), "overlap": 0.0}))["train"]
    for boxes, labels in zip(split.boxes, split.labels, strict=True):
        own = boxes[labels >= 0]
        for i in range(len(own)):
            for j in range(i):
                assert scenes._covered(tuple(own[i]), tuple(own[j])) == 0


def test_clutter_adds_ink_but_no_boxes() -> None:
    plain, cluttered = (
        make_scenes(changed(SMALL, {"clutter": clutter, "noise": 0.0}))["train"] for clutter in (0, 6)
    )
    assert cluttered.images.mean() > plain.images.mean()
    assert (cluttered.labels >= 0).sum(axis=1).max() <= SMALL.digits[1]


def test_class_exponent_makes_the_first_class_the_most_frequent() -> None:
    split = make_scenes(changed(SMALL, {"class_exponent": 1.5, "counts": (150, 1, 1)}))["train"]
    counts = np.bincount(split.labels[split.labels >= 0], minlength=10)
    assert counts.argmax() == 0
    assert counts[0] > 4 * counts[5:].mean()


class TestCache:
    def test_read_back_is_what_was_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = load_scenes(SMALL, tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        monkeypatch.setattr(scenes, "make_scenes", lambda settings: pytest.fail("was in the cache"))
        read = load_scenes(SMALL, tmp_path)
        assert all(_equal(made[name], read[name]) for name in scenes.SPLITS)

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04half a zip", b"\x80\x04not a zip at all"])
    def test_a_damaged_file_is_made_anew(self, tmp_path: Path, damage: bytes) -> None:
        made = load_scenes(SMALL, tmp_path)
        (path,) = tmp_path.iterdir()
        path.write_bytes(damage)
        assert _equal(load_scenes(SMALL, tmp_path)["val"], made["val"])
        assert path.stat().st_size > 1000

    def test_a_folder_that_can_not_be_made_does_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        assert len(load_scenes(SMALL, tmp_path / "file" / "cache")["train"]) == 24

    def test_follows_xdg(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert scenes.default_cache() == tmp_path / "cse-autoloss"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert scenes.default_cache() == tmp_path / "home" / ".cache" / "cse-autoloss"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"digits": (3, 2)}, r"digits: expected \[least, most\], got \[3, 2\]"),
        ({"size": (0, 4)}, r"size\.0: expected a number of at least 1"),
        ({"size": (12, 65)}, "size: expected at most the canvas of 64"),
        ({"counts": (1, 0, 1)}, r"counts\.1: expected a number of at least 1"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_impossible_settings_are_refused(change: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^SceneSettings: {named}"):
        SceneSettings(**change)
