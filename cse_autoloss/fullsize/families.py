"""The families of torchvision's detectors that can be trained with our losses, and what is peculiar to each."""

from __future__ import annotations

from typing import Final, NamedTuple

from cse_autoloss.errors import ConfigError, UnknownNameError

PREFIX: Final = "torchvision:"


class Family(NamedTuple):
    """What detectors of one kind share.

    Attributes:
        title: for people.
        signature: of the classification loss in its head.
        first_label: the label of class index 0; 1 where 0 is the background.
        peak_rate: the usual learning rate for 16 images a step.
        masks: it learns the objects' outlines too.
    """

    title: str
    signature: str
    first_label: int
    peak_rate: float
    masks: bool = False


FAMILIES: Final = {
    "fasterrcnn": Family("Faster R-CNN", "cls-multiclass", 1, 0.02),
    "maskrcnn": Family("Mask R-CNN", "cls-multiclass", 1, 0.02, masks=True),
    "retinanet": Family("RetinaNet", "cls-binary", 0, 0.01),
    "fcos": Family("FCOS", "cls-binary", 0, 0.01),
}
"""By the first word of their names in torchvision."""

_REFUSED: Final = {
    "keypointrcnn": "it learns from key points, which this package does not read",
    "ssd": "its head has no place for our losses",
    "ssdlite320": "its head has no place for our losses",
    "ssd300": "its head has no place for our losses",
}


def family_of(detector: str) -> Family:
    """The family of "torchvision:NAME"; whether there is such a NAME only torchvision knows.

    Raises:
        ConfigError: a detector of torchvision's that our losses do not fit.
        UnknownNameError: no such family; the nearest usual detector is offered.
    """
    first = detector.removeprefix(PREFIX).partition("_")[0]
    if detector.startswith(PREFIX) and first in FAMILIES:
        return FAMILIES[first]
    if detector.startswith(PREFIX) and first in _REFUSED:
        raise ConfigError(f"detector {detector!r}: {_REFUSED[first]}; expected one of {', '.join(USUAL)}")
    raise UnknownNameError.of("detector", detector, USUAL)


USUAL: Final = tuple(PREFIX + name + "_resnet50_fpn" for name in FAMILIES)
"""A detector of each family."""
