"""A schedule, a loss an epoch: explained as what it is, and taken away without the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cse_autoloss.explain import explain
from cse_autoloss.explain.curves import panels
from cse_autoloss.explain.words import what_it_is
from cse_autoloss.losses.parametric import ParametricSchedule
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_softmax import SearchSoftmax


def moving(space: ParametricSpace, epochs: int = 9) -> ParametricSchedule:
    """From the space's start, each number a little more or less each epoch."""
    rise = [0.3 / epochs * (-1) ** place for place in range(len(space.start))]
    return ParametricSchedule(
        space, [[a + b * at for a, b in zip(space.start, rise, strict=True)] for at in range(epochs)]
    )


@pytest.mark.parametrize("space", [AmLfs(3), ApSpace(2)], ids=lambda space: space.name)
def test_each_quarter_of_a_schedule_is_drawn(space: ParametricSpace) -> None:
    schedule = moving(space)
    schedule.reduction = "none"
    for panel in panels(schedule):
        own = [line for line in panel.lines if line.role == "loss"]
        named = " = ".join(line.label for line in own)
        assert all(f"epoch {epoch}" in named for epoch in (0, 2, 4, 6, 8))
        assert len(own) > 1


def test_a_page_says_how_many_losses_a_schedule_is(tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps(moving(SearchSoftmax()).to_dict()))
    page = explain(file)
    assert page.title == "search-softmax, 9 losses one after another"
    assert page.alias.startswith("9 losses one after another; the first: ")
    assert "; the last: " in page.alias
    assert "Search-softmax, 9 losses one after another" in page.html()
    assert moving(AmLfs(2), 1).title.startswith("am-lfs(1, 1")
    assert what_it_is(moving(AmLfs(2), 1)) == "cross-entropy"
