"""Settings of the detection task: data, proxy and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from cse_autoloss.settings.fields import (
    Count,
    NotNegative,
    Number,
    Positive,
    Precision,
    Section,
    Seed,
    Share,
    Spaces,
    Text,
    Whole,
    Written,
    check_order,
    like,
)

DATA: Final = r"(coco|yolo|voc):.+|[^:]+|[A-Za-z]:[\\/].*"
"""What a data set of photographs may be called: a folder, after its layout or alone."""


class SceneSettings(Section):
    """What the embedded scenes of handwriting look like.

    Attributes:
        canvas: side of the square image, pixels.
        digits: least and most digits a scene.
        size: least and most length of a digit's longer side, pixels.
        clutter: most fragments of digits a scene.
        overlap: largest share of a digit's box that an earlier digit's box may cover.
        class_exponent: classes are drawn with frequencies ∝ (class + 1)^-exponent; 0 draws all alike.
        contrast: least and most brightness of a digit, of 1.
        noise: standard deviation of the pixel noise, of 1.
        counts: scenes in train, val and test.
        seed: of everything above.
    """

    canvas: Annotated[Whole, Field(ge=16, le=1024)] = 64
    digits: tuple[Count, Count] = (1, 4)
    size: tuple[Count, Count] = (12, 28)
    clutter: Annotated[Whole, Field(ge=0)] = 0
    overlap: Share = 0.1
    class_exponent: NotNegative = 0.0
    contrast: tuple[Positive, Share] = (0.5, 1.0)
    noise: NotNegative = 0.08
    counts: tuple[Count, Count, Count] = (800, 400, 800)
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order("digits", self.digits)
        check_order("size", self.size)
        check_order("contrast", self.contrast)
        if self.size[1] > self.canvas:
            raise ValueError(f"size: expected at most the canvas of {self.canvas} pixels, got {self.size[1]}")
        return self


class AnnotationFaults(Section):
    """What part of the annotations to train on is wrong on purpose, and how.

    Attributes:
        unlabelled: part of the objects, in [0, 1), whose boxes are left out.
        mislabelled: part of the other objects, in [0, 1], that get one of the other classes, drawn evenly.
        seed: of the draws.
    """

    unlabelled: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    mislabelled: Share = 0.0
    seed: Seed = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of a result should know of them, in words; none where there are no faults."""
        told = []
        if self.unlabelled:
            told.append(f"{self.unlabelled:.0%} of the objects have no box")
        if self.mislabelled:
            told.append(f"{self.mislabelled:.0%} of the {'others' if told else 'objects'} have a wrong class")
        return (f"in the annotations to train on, {' and '.join(told)}, on purpose",) if told else ()


CARELESS: Final = "careless-digits"
"""The embedded scenes as people annotate: see docs/scenes.md."""
EMBEDDED: Final[Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "digits": {},
    CARELESS: {
        "scenes": {"clutter": 2, "class_exponent": 0.5},
        "faults": {"unlabelled": 0.3, "mislabelled": 0.1},
    },
}
"""Data that come with the package, and what they have of each section unless something else is said."""


class DetectionSettings(Section):
    """Everything that decides what a proxy training is, but the losses and the number of epochs.

    Attributes:
        data: "careless-digits" or "digits" for the embedded scenes, or a folder of photographs with boxes: "DIR" finds
            out its layout, "coco:DIR", "yolo:DIR" and "voc:DIR" say it; see docs/data.md.
        scenes: what the embedded scenes look like; what is not said, or None, is of the data.
        faults: made on purpose in the annotations to train on, of whatever data; what is not said is of the data, and
            none of photographs.
        image_size: longer side that photographs are brought to, pixels.
        train_file, val_file, test_file: JSON files of a folder in COCO's layout; without a test split, val is split
            in two.
        image_folder: folder, inside it, that its images' names start from; "." looks for it.
        skip_bad: leave out images on which something is wrong, and count them, in place of an error.
        cache: folder for made scenes and for what is known of photographs; None is the user's cache folder.
        detector: the proxy, a name that `detectors.registry.detector_builder` takes: "one-stage", "two-stage",
            that of an installed entry point, or "my_file.py:Build".
        batch, lr, weight_decay: of the optimiser.
        precision: of the proxy's forward pass in training; losses and weights are float32 in any.
        box_weight: of the box loss, relative to the classification loss.
        spaces: what losses read.
    """

    data: Annotated[
        str, like(DATA, "'careless-digits', 'digits', a folder, 'coco:DIR', 'yolo:DIR' or 'voc:DIR'")
    ] = CARELESS
    scenes: SceneSettings = SceneSettings()
    faults: AnnotationFaults = AnnotationFaults()
    image_size: Annotated[Whole, Field(ge=32, le=4096)] = 128
    train_file: Text = "train.json"
    val_file: Text = "val.json"
    test_file: Text = "test.json"
    image_folder: Text = "."
    skip_bad: bool = False
    cache: Written = None
    detector: Text = "one-stage"
    batch: Count = 16
    lr: Positive = 0.15
    weight_decay: NotNegative = 1e-2
    precision: Precision = "float32"
    box_weight: Positive = 2.0
    spaces: Spaces = "paper"

    @property
    def embedded(self) -> bool:
        """Whether the data come with the package."""
        return self.data in EMBEDDED

    @model_validator(mode="before")
    @classmethod
    def _of_the_data(cls, values: Any) -> Any:
        """What `scenes` and `faults` leave to the data."""
        if not isinstance(values, Mapping):
            return values
        found = dict(values)
        of_data = EMBEDDED.get(str(values.get("data", CARELESS)), {})
        for section in ("scenes", "faults"):
            given = values.get(section, {})
            if isinstance(given, Mapping):
                told = {key: value for key, value in given.items() if value is not None}
                found[section] = {**of_data.get(section, {}), **told}
        return found


SECTION: Final = DetectionSettings
