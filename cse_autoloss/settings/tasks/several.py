"""Settings of several kinds of data at once; search_configs/several.yaml says what they mean."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from cse_autoloss.settings.fields import Number, Section, Seed, Text, whole_path


def _placed(values: dict[str, Any]) -> dict[str, Any]:
    """With the whole path of its data, so that it holds from wherever a run is gone on with."""
    data = values.get("data")
    if isinstance(data, str) and data and (":" in data or os.path.exists(data)):
        return {**values, "data": whole_path(data)}
    return values


Values = Annotated[dict[str, Any], AfterValidator(_placed)]


class SeveralSettings(Section):
    """One task on several kinds of data.

    Attributes:
        task: whose settings `common` and `kinds` are.
        common: settings of all kinds.
        kinds: name -> settings in which this kind differs.
        references: name -> the figure that its gain is measured from, such as the best opponent's; 0 without one.
        seed: of each kind, if the task has one.
    """

    task: Text = "detection"
    common: Values = {}  # noqa: RUF012
    kinds: Annotated[dict[Text, Values], Field(min_length=1)] = {  # noqa: RUF012
        "plain": {"data": "digits"},
        "missing boxes": {"data": "digits", "faults": {"unlabelled": 0.5}},
        "wrong classes": {"data": "digits", "faults": {"mislabelled": 0.3}},
        "cluttered": {"data": "digits", "scenes": {"clutter": 4}},
        "long-tailed": {"data": "digits", "scenes": {"class_exponent": 1.0}},
    }
    references: dict[Text, Number] = {}  # noqa: RUF012
    seed: Seed = 0


SECTION: Final = SeveralSettings
