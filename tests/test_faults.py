"""Faults made in the annotations to train on: how many, which, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from cse_autoloss.bench.session import Session
from cse_autoloss.errors import ConfigError
from cse_autoloss.report.write import provenance
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.tasks.detection import AnnotationFaults, DetectionSettings, SceneSettings
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.faults import with_faults
from cse_autoloss.tasks.scenes import make_scenes
from cse_autoloss.tasks.splits import Split

CLASSES = 10


@pytest.fixture(scope="module")
def whole() -> Split:
    return make_scenes(SceneSettings(counts=(300, 1, 1)))["train"]


def test_none_is_the_very_same_split(whole: Split) -> None:
    assert with_faults(whole, AnnotationFaults(), CLASSES) is whole


def test_the_asked_part_is_unlabelled_and_the_rest_is_as_it_was(whole: Split) -> None:
    sparse = with_faults(whole, AnnotationFaults(unlabelled=0.5), CLASSES)
    objects, left = (whole.labels >= 0).sum(), (sparse.labels >= 0).sum()
    assert left / objects == pytest.approx(0.5, abs=0.06)
    assert np.array_equal(sparse.images, whole.images)
    for row in range(len(whole)):
        before = {(*box, label) for box, label in zip(whole.boxes[row].tolist(), whole.labels[row])}
        after = [(box, label) for box, label in zip(sparse.boxes[row].tolist(), sparse.labels[row])]
        kept = [(*box, label) for box, label in after if label >= 0]
        assert set(kept) <= before
        # rows past the last object are empty, as everywhere
        assert all(label == -1 and not any(box) for box, label in after[len(kept) :])


def test_wrong_classes_are_other_classes_and_boxes_stay(whole: Split) -> None:
    faulty = with_faults(whole, AnnotationFaults(mislabelled=0.3), CLASSES)
    objects = whole.labels >= 0
    changed = faulty.labels != whole.labels
    assert not changed[~objects].any()
    assert changed.sum() / objects.sum() == pytest.approx(0.3, abs=0.06)
    assert np.array_equal(faulty.boxes, whole.boxes)
    assert faulty.labels[objects].min() >= 0
    assert faulty.labels.max() < CLASSES
    everything = with_faults(whole, AnnotationFaults(mislabelled=1.0), CLASSES)
    assert (everything.labels != whole.labels)[objects].all()


def test_a_single_class_can_not_be_wrong(whole: Split) -> None:
    one = Split(whole.images, whole.boxes, np.minimum(whole.labels, 0), whole.crowd)
    assert np.array_equal(with_faults(one, AnnotationFaults(mislabelled=1.0), 1).labels, one.labels)


def test_crowd_regions_stay(whole: Split) -> None:
    crowd = whole.labels == 3
    marked = Split(whole.images, whole.boxes, whole.labels, crowd)
    faulty = with_faults(marked, AnnotationFaults(unlabelled=0.9, mislabelled=1.0), CLASSES)
    assert faulty.crowd.sum() == crowd.sum()
    assert (faulty.labels[faulty.crowd] == 3).all()


def test_the_same_seed_makes_the_same_faults(whole: Split) -> None:
    one, again, other = (
        with_faults(whole, AnnotationFaults(unlabelled=0.5, seed=seed), CLASSES).labels for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_task_has_them_in_training_alone(tmp_path: Path) -> None:
    scenes = SceneSettings(counts=(40, 40, 40))
    faults = AnnotationFaults(unlabelled=0.5)
    task = DetectionTask(DetectionSettings(scenes=scenes, faults=faults, cache=tmp_path))
    whole = make_scenes(scenes)
    for name in ("val", "test"):
        assert np.array_equal(task.split(name).labels, whole[name].labels)
    assert (task.split("train").labels >= 0).sum() < (whole["train"].labels >= 0).sum()


def test_they_are_told_in_words() -> None:
    assert AnnotationFaults().notes == ()
    (both,) = AnnotationFaults(unlabelled=0.5, mislabelled=0.1).notes
    assert "50% of the objects have no box and 10% of the others have a wrong class" in both
    (wrong,) = AnnotationFaults(mislabelled=0.25).notes
    assert wrong == "in the annotations to train on, 25% of the objects have a wrong class, on purpose"


@pytest.mark.parametrize("key", ["unlabelled", "mislabelled"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_parts_that_are_none_are_refused(key: str, value: float) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^AnnotationFaults: {key}: expected a number (of at least 0|below 1|of at most 1), got",
    ):
        AnnotationFaults(**{key: value})
    with pytest.raises(ConfigError, match=rf"detection\.faults\.{key}: "):
        load_config(None, {f"detection.faults.{key}": value})


def test_a_discovered_file_says_what_annotations_it_comes_from() -> None:
    best = {"settings": {}, "val": None, "test": None, "gain": None}
    summary = {"best": best, "seed": 0, "verdict": ""}
    store = SimpleNamespace(directory=Path("run"))

    def facts(unlabelled: float) -> dict[str, object]:
        session = Session(
            load_config(
                None, {"detection.data": "digits", "detection.faults.unlabelled": unlabelled, "device": "cpu"}
            )
        )
        return provenance(session, cast(RunStore, store), summary)

    assert "notes" not in facts(0.0)
    told = facts(0.5)["notes"]
    assert told == "in the annotations to train on, 50% of the objects have no box, on purpose"
