"""Tests for tasks that come with the package: a new one gets its own in three lines of a pytest file.

class TestMine(TaskConformance):
    task = "my_file.py:MyTask"
    own = {"samples": 100}
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.graph import Signature
from cse_autoloss.settings.fields import Section
from cse_autoloss.settings.filters import SimulateSettings
from cse_autoloss.tasks.pictures import read_pictures
from cse_autoloss.tasks.protocol import LossFunction, Schedule, SplitName, Task, TaskScore
from cse_autoloss.tasks.registry import TASKS


class TaskConformance:
    """What every task must do.

    Attributes:
        task: a name that `--task` takes.
        own: settings that make it small: a training should take seconds.
        epochs: of a training that learns something.
        absent: settings with which its data can't be read; without them it is not tested what is told then.
    """

    task: ClassVar[str]
    own: ClassVar[Mapping[str, Any]] = {}
    epochs: ClassVar[float] = 4.0
    absent: ClassVar[Mapping[str, Any]] = {}

    def spoil(self, task: Any, split: str) -> None:
        """Make the data of "val" or "test" worthless, in a task that has read them, by whatever it keeps them in."""
        pytest.skip("say how by a method `spoil(task, split)`")

    # -- helpers -----------------------------------------------------------------------------------------------

    def made(self, **own: Any) -> Task:
        """The task with its small settings."""
        kind = TASKS.get(self.task)
        return kind(kind.Settings(**{**self.own, **own}), "cpu")

    @cached_property
    def _shared(self) -> Task:
        return self.made()

    def losses(self, task: Task, change: Callable[[Any], Any] | None = None) -> dict[str, LossFunction]:
        """The plain losses; or what `change` makes of their sums."""
        plain = {slot: slot_loss(text, task.slots[slot], None) for slot, text in task.baselines[0].items()}
        if change is None:
            return plain

        def changed(own: LossFunction) -> LossFunction:
            return lambda *tensors: change(own(*tensors))

        return {slot: changed(own) for slot, own in plain.items()}

    def trained(
        self,
        task: Task,
        *,
        losses: Mapping[str, LossFunction] | None = None,
        seed: int = 0,
        split: SplitName = "val",
        settings: Mapping[str, float] | None = None,
        **schedule: Any,
    ) -> TaskScore:
        """The score of a short training."""
        return task.train(
            losses or self.losses(task),
            seed=seed,
            schedule=Schedule(**{"epochs": self.epochs, **schedule}),
            settings=settings or {},
            split=split,
        )

    # -- what it says of itself --------------------------------------------------------------------------------

    def test_it_says_what_it_is(self) -> None:
        task = self.made()
        assert isinstance(task.name, str)
        assert issubclass(task.Settings, Section)
        assert task.slots
        assert all(isinstance(signature, Signature) for signature in task.slots.values())
        names = [metric.name for metric in task.metrics]
        assert names, "the first metric is what a search climbs"
        assert len(set(names)) == len(names), "a metric's name stands there twice"
        assert all(math.isfinite(metric.worst) for metric in task.metrics)
        tuned = [one.name for one in task.tunables]
        assert len(set(tuned)) == len(tuned), "a tunable's name stands there twice"
        for one in task.tunables:
            assert 0 < one.span[0] <= 1 <= one.span[1], f"{one.name}: its span holds 1, the default"
            assert one.slot in ("", *task.slots), f"{one.name}: there is no slot {one.slot!r}"
        assert all(isinstance(note, str) for note in (*task.notes, *task.check()))

    def test_its_baselines_are_losses_of_its_slots(self) -> None:
        task = self.made()
        assert task.baselines, "a search is held against what people use"
        for losses in task.baselines:
            assert set(losses) == set(task.slots)
            for slot, text in losses.items():
                slot_loss(text, task.slots[slot], None)

    def test_unknown_settings_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="no_such_setting"):
            self.made(no_such_setting=1)

    def test_it_is_made_without_its_data_and_tells_in_one_line_that_they_are_missing(self) -> None:
        if not self.absent:
            pytest.skip("say by `absent` with which settings the data can't be read")
        task = self.made(**self.absent)
        assert task.slots
        assert task.baselines
        with pytest.raises(DataError) as caught:
            task.check()
        assert len(str(caught.value).splitlines()) == 1

    def test_it_simulates_as_it_says(self) -> None:
        task = self._shared
        assert (task.simulation(SimulateSettings()) is not None) == task.simulates

    # -- training ----------------------------------------------------------------------------------------------

    def test_it_learns_and_gives_the_metrics_that_it_declares(self) -> None:
        task = self._shared
        before = torch.random.get_rng_state()
        score = self.trained(task, show=True)
        assert torch.equal(torch.random.get_rng_state(), before), "a training moved torch's global generator"
        assert (score.status, score.detail) == ("ok", "")
        assert set(score.metrics) == {metric.name for metric in task.metrics}
        assert all(isinstance(v, float) and math.isfinite(v) for v in score.metrics.values())
        assert score.train_samples >= 0
        assert score.epochs_trained in (0, self.epochs)
        kept = json.loads(json.dumps([asdict(one) for one in score.pictures]))
        assert [type(one) for one in read_pictures(kept)] == [type(one) for one in score.pictures]
        assert len(json.dumps(kept)) < 1_000_000, "pictures are kept with every contestant: keep them small"
        metric = task.metrics[0]
        still = self.trained(task, losses=self.losses(task, lambda total: total * 0.0))
        assert metric.worth(score.metrics) > metric.worth(still.metrics), "nothing is learnt"

    def test_a_score_is_a_function_of_the_seed(self) -> None:
        task = self._shared
        first = self.trained(task, seed=3).metrics
        assert dict(self.trained(self.made(), seed=3).metrics) == dict(first), "the same seed, another score"
        others = [dict(self.trained(task, seed=seed).metrics) for seed in (4, 5)]
        assert any(other != first for other in others), "other seeds, the same score"

    def test_every_tunable_changes_something(self) -> None:
        task = self._shared
        plain = dict(self.trained(task).metrics)
        for one in task.tunables:
            assert dict(self.trained(task, settings={one.name: one.default}).metrics) == plain
            other = self.trained(task, settings={one.name: 0.1 * one.default})
            assert dict(other.metrics) != plain, f"{one.name} changes nothing"

    def test_short_schedules_and_few_samples_will_do(self) -> None:
        task = self._shared
        for schedule in ({"epochs": 0.01}, {"train_limit": 5}, {"epochs": 1.0}):
            assert self.trained(task, **schedule).status in ("ok", "diverged")

    # -- splits ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_nothing_of_another_split_is_read(self, split: SplitName) -> None:
        other = "test" if split == "val" else "val"
        sound = dict(self.trained(self._shared, split=split).metrics)
        task = self.made()
        task.check()
        self.spoil(task, other)
        assert dict(self.trained(task, split=split).metrics) == sound, (
            f"a score on {split} depends on {other}"
        )
        task = self.made()
        task.check()
        self.spoil(task, split)
        assert dict(self.trained(task, split=split).metrics) != sound, f"`spoil` does nothing to {split}"

    def test_fresh_draws_are_other_data_and_always_the_same(self) -> None:
        task = self._shared
        if task.drawn(1) is None:
            pytest.skip("its data are not drawn")
        first, again, other = (
            dict(self.trained(TASKS.get(self.task)(task.drawn(draw), "cpu"), epochs=1.0).metrics)
            for draw in (1, 1, 2)
        )
        assert first == again
        assert first != other, "another draw, the same score"
        assert first != dict(self.trained(task, epochs=1.0).metrics), "a draw is the data of the settings"

    # -- losses that are broken --------------------------------------------------------------------------------

    def test_a_loss_that_is_not_finite_is_told_as_divergence(self) -> None:
        task = self._shared
        for factor in (math.nan, math.inf):
            score = self.trained(task, losses=self.losses(task, partial(operator.mul, factor)))
            assert score.status == "diverged"
            assert score.detail
            assert not score.metrics

    def test_a_loss_that_raises_is_the_callers_to_record(self) -> None:
        def raising(*_: Any) -> Any:
            raise ValueError("on purpose")

        task = self._shared
        sound = dict(self.trained(task).metrics)
        with pytest.raises(ValueError, match="on purpose"):
            self.trained(task, losses=dict.fromkeys(task.slots, raising))
        assert dict(self.trained(task).metrics) == sound, "a broken loss has left something behind"

    # -- pauses ------------------------------------------------------------------------------------------------

    def test_a_pause_changes_no_digit(self, tmp_path: Path) -> None:
        task = self._shared
        if not task.pauses:
            pytest.skip("it does not pause")
        whole = self.trained(task, seed=1)
        state = tmp_path / "states" / "one.pt"
        part = self.trained(task, seed=1, until=self.epochs / 2, score_limit=10, state=state)
        assert set(part.metrics) == set(whole.metrics)
        assert 0 < part.epochs_trained < self.epochs
        assert state.exists()
        rest = self.trained(task, seed=1, state=state)
        assert dict(rest.metrics) == dict(whole.metrics)
        assert rest.epochs_trained + part.epochs_trained == pytest.approx(self.epochs)
