"""A schedule, a loss an epoch: explained as what it is, and taken away without the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cse_autoloss.explain import explain
from cse_autoloss.explain.curves import panels
from cse_autoloss.explain.words import what_it_is
from cse_autoloss.export import export_loss
from cse_autoloss.losses.parametric import ParametricSchedule
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
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


SPACES = (
    AmLfs(3),
    AmLfs(3, form="unbounded"),
    AmLfs(2, continuous=True),
    SearchSoftmax(),
    SearchSigmoid(),
    ApSpace(2),
)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_file_of_a_schedule_is_the_schedule(
    space: ParametricSpace, reduction: str, tmp_path: Path
) -> None:
    schedule, scope = moving(space, 4), dict[str, object]()
    schedule.reduction = reduction
    exec(export_loss(schedule, tmp_path / "schedule.py").read_text(), scope)
    found = scope["SearchedLoss"](reduction)  # type: ignore[operator]
    source = torch.Generator().manual_seed(3)
    rows = 4 * torch.randn(12, 5, generator=source, dtype=torch.float64)
    target = torch.arange(12) % 5
    weights = torch.rand(12, generator=source, dtype=torch.float64) if reduction == "none" else 1.0
    told: list[torch.Tensor] = []
    for epoch in (0, 1, 2, 3, 7):
        values = []
        for loss in (schedule, found):
            loss.set_epoch(epoch)
            logits = rows.clone().requires_grad_()
            value = (loss(logits, target) * weights).sum()
            values.append((value, *torch.autograd.grad(value, logits)))
        for ours, theirs in zip(*values, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-12)
        told.append(values[1][0])
    assert len({value.item() for value in told}) == 4  # after the path's end its last loss stays
    for share, epoch in ((0.0, 0), (0.49, 1), (0.5, 2), (1.0, 3)):
        for loss in (schedule, found):
            loss.set_progress(share)
            torch.testing.assert_close((loss(rows, target) * weights).sum(), told[epoch])
    for wrong in (-1, 1.5, True, None, "1"):
        with pytest.raises(ValueError, match="epoch is a whole number of at least 0"):
            found.set_epoch(wrong)


def test_the_file_of_a_schedule_imports_torch_alone_and_keeps_its_place(tmp_path: Path) -> None:
    export_loss(moving(AmLfs(3), 4), tmp_path / "schedule.py")
    script = (
        "import sys, torch; from schedule import SearchedLoss as L; a, b = L(), L(); a.set_epoch(2);"
        "b.load_state_dict(a.state_dict()); assert int(b.epoch) == 2; assert a.t_slope.shape == (4, 3);"
        "assert 'cse_autoloss' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
