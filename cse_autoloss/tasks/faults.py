"""Faults in the annotations to train on, made on purpose: objects that nobody marked, and wrong classes.

Large data sets have both. An object without a box is background to the loss, and the harder a loss presses on confident
negatives, the more such objects cost. Validation and test keep their annotations, so that scores mean what they say.
"""

from __future__ import annotations

import numpy as np

from cse_autoloss.settings.tasks.detection import AnnotationFaults
from cse_autoloss.tasks.splits import Split


def with_faults(split: Split, faults: AnnotationFaults, num_classes: int) -> Split:
    """The split with such faults; the same seed gives the same ones, and crowd regions stay as they are.

    Args:
        split: N images of up to K objects.
        faults: how many.
        num_classes: C; with a single class no object can have a wrong one.
    """
    if not (faults.unlabelled or faults.mislabelled):
        return split
    rng = np.random.default_rng([faults.seed, len(split)])
    chance = rng.random((2, *split.labels.shape))
    step = rng.integers(1, max(2, num_classes), split.labels.shape)
    own = (split.labels >= 0) & ~split.crowd
    lost = own & (chance[0] < faults.unlabelled)
    wrong = own & ~lost & (chance[1] < faults.mislabelled) & (num_classes > 1)
    labels = np.where(wrong, (split.labels + step) % num_classes, split.labels)
    labels = np.where(lost, -1, labels)
    boxes = np.where(lost[..., None], np.float32(0), split.boxes)
    # What is left moves to the front: rows past an image's last object are empty.
    order = np.argsort(lost, axis=1, kind="stable")
    return Split(
        split.images,
        np.take_along_axis(boxes, order[..., None], axis=1),
        np.take_along_axis(labels, order, axis=1),
        np.take_along_axis(split.crowd, order, axis=1),
    )
