"""Settings of binary segmentation; search_configs/segmentation.yaml says what they mean."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from cse_autoloss.settings.fields import Place, Positive, Spaces, Whole, Written, like
from cse_autoloss.settings.stacked import ImageSize, SgdSettings
from cse_autoloss.settings.tasks.detection import SceneSettings


class SegmentationSettings(SgdSettings):
    """The images and masks, as of `tasks.mask_files`, and how the net is trained.

    Attributes:
        data: "digits" for the embedded scenes, "folder:DIR" for images and masks of your own.
        scenes: what the embedded scenes look like.
        image_size: side that images and masks of a folder are scaled to, pixels; a multiple of 4.
        grey: one channel for images of a folder.
        width: channels of the net's first layer.
        cache: folder for made scenes; None is the user's cache folder.
        spaces: what losses read.
    """

    data: Annotated[Place, like(r"digits|folder:.+", "'digits' or 'folder:DIR'")] = "digits"
    scenes: SceneSettings = SceneSettings(
        canvas=48, size=(10, 24), clutter=6, contrast=(0.3, 1.0), noise=0.18, counts=(160, 100, 300)
    )
    image_size: Annotated[ImageSize, Field(multiple_of=4)] = 64
    grey: bool = False
    width: Annotated[Whole, Field(ge=1, le=256)] = 8
    batch: Annotated[Whole, Field(ge=2)] = 8
    lr: Positive = 0.1
    cache: Written = None
    spaces: Spaces = "paper"


SECTION: Final = SegmentationSettings
