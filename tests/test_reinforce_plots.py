"""Pictures of a search of a parametric space: what stands in them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from cse_autoloss import evolve
from cse_autoloss.report import plots
from cse_autoloss.report.plots import plot_gradient, plot_mu, target_gradient
from cse_autoloss.report.schedule_plot import PANELS, plot_schedule, steps_shown
from cse_autoloss.report.space_plots import draw_search
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
from cse_autoloss.tasks.target_logits import BINS, TargetLogits


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


def test_where_a_net_has_its_logits() -> None:
    logits = torch.full((100, 5), -1.5)
    labels = torch.arange(100) % 5
    logits[range(100), labels] = torch.linspace(2, 4, 100)
    found = TargetLogits.of(logits, labels)
    assert found is not None
    assert (found.low, found.high, found.classes, sum(found.counts)) == (2.0, 4.0, 5, 100)
    assert found.others == pytest.approx(-1.5)
    assert max(found.counts) <= 3  # evenly spread
    assert TargetLogits.from_dict(found.to_dict()) == found
    alike = TargetLogits.of(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    assert alike is not None
    assert sum(alike.counts) == 4
    assert alike.others == pytest.approx(0.0)
    assert TargetLogits.of(logits / 0, labels) is None
    assert TargetLogits.of(logits[:, :1], labels * 0) is None


def test_the_others_level_matters_to_the_gradient() -> None:
    """Softmax's −∂L/∂x_y is 1 − p, p of the target."""
    logits = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    found = target_gradient(AmLfs(2), AmLfs(2).start, logits, classes=4, others=1.5)
    odds = torch.exp(logits) / (3 * math.exp(1.5))
    torch.testing.assert_close(found, 1 - odds / (1 + odds))


def test_the_gradient_has_the_density_behind_it(drawn: list[Figure], tmp_path: Path) -> None:
    space, found = AmLfs(2, scale=10.0), TargetLogits(-20.0, 5.0, (1,) * BINS, -3.0, 7)
    plot_gradient(space, {"start": space.start}, tmp_path / "gradient.png", found)
    front, back = drawn[-1].axes
    assert front.get_legend_handles_labels()[1] == ["start", "training images"]
    assert "6 others at -3" in front.get_xlabel()
    (line,) = front.get_lines()
    assert (min(line.get_xdata()), max(line.get_xdata())) == (-2.0, 1.0)
    (steps,) = back.patches
    assert sum(steps.get_data().values) == BINS
    assert back.get_zorder() < front.get_zorder()
    # Both stand on one 0.
    (low, high), (below, above) = front.get_ylim(), back.get_ylim()
    assert below / above == pytest.approx(low / high)


def test_panels_are_evenly_chosen() -> None:
    assert steps_shown(3) == [1, 2, 3]
    assert steps_shown(PANELS) == list(range(1, PANELS + 1))
    assert (steps_shown(100)[0], steps_shown(100)[-1], len(set(steps_shown(9)))) == (1, 100, PANELS)


def test_a_schedule_has_a_panel_for_each_kth_step(drawn: list[Figure], tmp_path: Path) -> None:
    space = AmLfs(2)
    path = [[value + 0.05 * step for value in space.start] for step in range(31)]
    found = TargetLogits(-4.0, 8.0, (2,) * BINS, 0.5, 6)
    plot_schedule(space, path, tmp_path / "schedule.png", {1: found, 30: found})
    panels = [axes for axes in drawn[-1].axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == [
        f"epoch {number}: {'5 others at 0.5' if number in (1, 30) else '9 others at 0'}"
        for number in steps_shown(30)
    ]
    assert len(drawn[-1].axes) == PANELS + 2  # two histograms
    first, own = panels[-1].get_lines()
    logits = torch.tensor(own.get_xdata()) * space.scale
    expected = target_gradient(space, path[29], logits, 6, 0.5)
    torch.testing.assert_close(torch.tensor(own.get_ydata()), expected)
    begun = target_gradient(space, path[0], logits, 6, 0.5)
    torch.testing.assert_close(torch.tensor(first.get_ydata()), begun)
    assert len({panel.get_ylim() for panel in panels}) == 1


def test_of_sigmoid_heads_the_way_alone_is_drawn(tmp_path: Path) -> None:
    space = SearchSigmoid()
    draw_search(tmp_path, space, [space.start, (0.3,), (0.4,)], None, {}, step="generation")
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["mu.png"]


@pytest.mark.parametrize("search", ["reinforce", "cma"])
def test_a_search_by_whole_trainings_has_its_way_drawn(
    search: str, drawn: list[Figure], tmp_path: Path
) -> None:
    options = {
        "search": search, "reinforce.samples": 4, "reinforce.intervals": 2, "generations": 3, "own.train_limit": 60,
        "proxy.epochs": 2, "audit.finalists": 1, "audit.baselines": 1, "audit.seeds": 2, "audit.tuning": 1,
        "audit.epochs": 2, "audit.tune_epochs": 2, "workers": 1, "executor": "inprocess", "budget": None,
    }  # fmt: skip
    directory = evolve("classification", out=tmp_path / "run", **options).directory
    assert {path.name for path in (directory / "plots").iterdir()} == {
        "mu.png", "gradient.png", "schedule.png", "approximation.png",
    }  # fmt: skip
    means, gradient, schedule, _ = drawn
    for panel in means.axes:
        assert panel.get_xlabel() == "generation"
        assert all(len(line.get_xdata()) == 4 for line in panel.get_lines())
        assert any(len(set(line.get_ydata())) > 1 for line in panel.get_lines())
    assert len(gradient.axes) == 2  # the audited model's logits behind it
    assert [axes.get_title().split(":")[0] for axes in schedule.axes] == [
        f"generation {n}" for n in (1, 2, 3)
    ]
    page = (directory / "report.html").read_text()
    for title in ("The searched distribution", "Gradient of the target", "one after another"):
        assert title in page
