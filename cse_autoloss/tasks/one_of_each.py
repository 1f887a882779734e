"""One image of each category: what the model optimisation simulation is run on."""

from __future__ import annotations

import numpy as np
import torch

from cse_autoloss.simulation import SimulationData
from cse_autoloss.tasks.splits import Split


def one_of_each(train: Split, num_classes: int) -> SimulationData:
    """For each class the first training image that shows it and is not taken yet; a class on no image is left out.

    Args:
        train: the training split; neither validation nor test images may be used here.
        num_classes: C.
    """
    chosen: list[int] = []
    labels = np.where(train.crowd, -1, train.labels)
    for number in range(num_classes):
        showing = np.flatnonzero((labels == number).any(axis=1))
        fresh = [int(index) for index in showing if int(index) not in chosen]
        if fresh:
            chosen.append(fresh[0])
    picked = np.asarray(sorted(chosen), dtype=np.int64)
    return SimulationData(
        torch.from_numpy(train.images[picked]),
        torch.from_numpy(train.boxes[picked]),
        torch.from_numpy(labels[picked]),
        num_classes,
    )
