"""Settings of person re-identification; search_configs/reid.yaml says what they mean."""

from __future__ import annotations

from typing import Annotated, Final

from cse_autoloss.settings.fields import Place, like
from cse_autoloss.settings.stacked import IdentitySettings, ValShare


class ReidSettings(IdentitySettings):
    """The photographs, as of `tasks.reid`, and how the models are trained."""

    data: Annotated[Place, like(r"orl|market:.+", "'orl' or 'market:DIR'")] = "orl"
    val_share: ValShare = 0.2
    re_rank: bool = False


SECTION: Final = ReidSettings
