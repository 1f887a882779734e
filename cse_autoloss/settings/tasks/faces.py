"""Settings of face verification; search_configs/faces.yaml says what they mean."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from cse_autoloss.settings.fields import Number, Place, Whole, WholePath
from cse_autoloss.settings.stacked import IdentitySettings


class FacesSettings(IdentitySettings):
    """The photographs and pairs, as of `tasks.faces`, and how the models are trained."""

    data: Place = "orl"
    grey: bool = False
    pairs: WholePath | None = None
    groups: WholePath | None = None
    pair_count: Annotated[Whole, Field(ge=10)] = 20_000
    far: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.01


SECTION: Final = FacesSettings
