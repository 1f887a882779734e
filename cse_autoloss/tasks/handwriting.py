"""The embedded handwriting: scikit-learn's `load_digits`, split by who wrote it.

1,797 scans of 8x8 pixels (Alpaydin & Kaynak, UCI 1998) by 13 people, none of whom is named. They lie in the order of
the forms that were filled in: the same row of digits begins anew at fourteen places, give or take a digit that is
missing. Splits are whole forms, in that order. So test digits come from people who wrote nothing to train on, as far as
the order tells: fourteen forms of 13 people leave open who filled in two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FORMS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667)
"""Index of each form's first digit."""
ENDS = (FORMS[7], FORMS[10])
"""Train has the first seven forms, validation the next three, test the last four: 915, 372 and 510 digits."""


def load_handwriting() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Digits (1797, 8, 8) with ink from 0 to 16, and their classes (1797,)."""
    from sklearn.datasets import load_digits  # a second to import: only when digits are really read

    scans = load_digits()
    return scans.images, scans.target.astype(np.int64)


def handwriting_parts(count: int) -> tuple[NDArray[np.int64], ...]:
    """Indices of the digits of train, val and test, of `count` in all."""
    return tuple(np.split(np.arange(count), ENDS))
