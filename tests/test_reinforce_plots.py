"""Pictures of a search of a parametric space: what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cse_autoloss.report import plots
from cse_autoloss.report.plots import plot_gradient, plot_mu
from cse_autoloss.spaces.am_lfs import AmLfs


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(self: Figure, *args: object, **named: object) -> None:
        figures.append(self)
        save(self, *args, **named)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


def test_the_gradient_names_what_is_exported(drawn: list[Figure], tmp_path: Path) -> None:
    space = AmLfs(2)
    end, exported = [1.2] * 8, [1.1] * 8
    shown = {"start": space.start, "end": end, "exported": exported}
    for losses, labels in (
        (shown, ["start", "end", "exported"]),
        ({**shown, "exported": end}, ["start", "end, exported"]),
    ):
        plot_gradient(space, losses, tmp_path / "gradient.png")
        assert drawn[-1].axes[0].get_legend_handles_labels()[1] == labels


@pytest.mark.parametrize("intervals", [3, 20])
def test_epochs_are_whole_and_a_legend_leaves_room(
    intervals: int, drawn: list[Figure], tmp_path: Path
) -> None:
    space = AmLfs(intervals)
    plot_mu(space, [space.start] * 4, tmp_path / "mu.png")
    for panel in drawn[-1].axes:
        assert all(float(tick).is_integer() for tick in panel.get_xticks())
        assert (panel.get_legend() is not None) == (intervals <= plots.MOST_NAMED)
