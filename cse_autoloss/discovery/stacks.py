"""Trainings side by side as processes of a workbench: a baseline at once, a search epoch by epoch, a look at test.

Every score and every state of a search is kept as soon as it is there, so that each process goes on from where the
store stands, and comes to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from cse_autoloss.bench.measure import failure
from cse_autoloss.bench.schedule import Batch, Process, Workbench
from cse_autoloss.bench.session import NothingDone, Session, states_folder
from cse_autoloss.bench.stacked import StackTraining
from cse_autoloss.executors import Job
from cse_autoloss.losses.parametric import text_of
from cse_autoloss.runs import Score, is_whole
from cse_autoloss.searches.parametric import theta_of
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState, best_of
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.spaces.parametric import ParametricSpace

Trial = tuple[StackTraining, Score]
"""A training side by side that has ended, and the score of its best model; "diverged" where all models did."""


class Stacks:
    """Makes the processes of one run, and tells its status how far they are."""

    def __init__(self, session: Session, bench: Workbench, space: ParametricSpace) -> None:
        """
        Args:
            session: its one slot is that of the parametric losses.
            bench: where the processes will be started.
            space: that is searched; a policy over another one is a control.
        """
        self._session, self._metric, self._own = session, session.metric, session.config.own
        self._store, self._status, self._clock = bench.store, bench.status, bench.clock
        self._space, self._epochs, self._model_epochs = space, int(self._own.epochs), 0
        (self._slot,) = session.slots

    def baseline(self, name: str, seed: int) -> Process[Trial]:
        """All settings and learning rates of a baseline in one stack."""
        space = BASELINES[name].space(self._own.scale)
        grid = list(product(space.grid, self._session.config.reinforce.lr_factors))
        theta, factors = [[value] for value, _ in grid], tuple(factor for _, factor in grid)
        scale = self._own.scale if space.cosine else self._own.cosine_scale
        training = self._training(f"{name}-{seed}", space, seed, factors, scale)
        self._status.total += len(grid)
        kept = self._store.score(training.key(self._epochs))
        if kept is None or not self._there(training, self._epochs):
            value = yield from self._done(training.job(theta, 0, self._epochs))
            best = best_of(self._rewards(value))
            kept = self._keep("tune", training, self._epochs, theta[best], value)
        figure = kept.metrics[self._metric.name]
        if self._status.baseline is None or self._better(figure, self._status.baseline[1]):
            self._status.baseline = (name, figure)
        self._tell(len(grid) * self._epochs, f"{training.name}: {self._words(figure)}")
        return training, kept

    def search(
        self, name: str, policy: Reinforce, seed: int, factor: float, **options: bool
    ) -> Process[Trial]:
        """Algorithm 1 from where the store stands to its last epoch."""
        training = self._training(
            f"{name}-{seed}-{name_of(factor)}", policy.space, seed, factor, self._own.cosine_scale, **options
        )
        self._status.total += policy.samples
        state = self._standing(training, policy)
        self._tell(policy.samples * state.epoch, "")
        kept = self._store.score(training.key(state.epoch))
        while state.epoch < self._epochs:
            kept = self._store.score(training.key(state.epoch + 1))
            if kept is None or kept.metrics:
                kept, state = yield from self._generation(training, policy, state)
            if not kept.metrics:  # this learning rate is too high; another may do
                self._tell(policy.samples * (self._epochs - state.epoch), f"{training.name}: {kept.detail}")
                break
            self._show(training, policy, kept)
        assert kept is not None
        return training, kept

    def replay(self, name: str, path: Sequence[Sequence[float]], seed: int) -> Process[Trial]:
        """Train from nothing with a loss an epoch, `path`, at all learning rates in one stack; no model is copied."""
        factors, last = self._session.config.reinforce.lr_factors, self._epochs
        training = self._training(
            f"{name}-{seed}", self._space, seed, factors, self._own.cosine_scale, copy_best=False
        )
        self._status.total += len(factors)
        kept = self._store.score(training.key(last))
        if kept is None or (kept.metrics and not self._there(training, last)):
            same = all(tuple(theta) == tuple(path[0]) for theta in path)
            spans = [(0, last)] if same else [(epoch, epoch + 1) for epoch in range(last)]
            for begin, end in spans:
                value = yield from self._done(training.job([list(path[begin])] * len(factors), begin, end))
                training.checkpoint(states_folder(self._store), begin).unlink(missing_ok=True)
                if value["best"] is None:
                    break
            kept = self._keep("tune", training, last, path[-1], value)
        figure = self._words(kept.metrics[self._metric.name]) if kept.metrics else "diverged"
        self._tell(len(factors) * last, f"{training.name}: {figure}")
        return training, kept

    def test(self, training: StackTraining, val: Score) -> Process[Score]:
        """The one look at test of what validation chose."""
        if not val.metrics:
            return val
        kept = self._store.score(training.key(self._epochs, "test"))
        if kept is None:
            value = yield from self._done(training.test())
            theta, factor = theta_of(val.losses[self._slot]), val.extra["lr_factor"]
            kept = self._keep("audit", training, self._epochs, theta, {**value, "best": 0}, factor=factor)
        return kept

    # -- steps ----------------------------------------------------------------------------------------

    def _training(
        self, name: str, space: ParametricSpace, seed: int, factor: Any, scale: float | None, **options: bool
    ) -> StackTraining:
        metric, digest = self._metric.name, self._session.digest
        return StackTraining(
            name, space.to_dict(), seed, factor, scale, self._epochs, metric, digest, **options
        )

    def _generation(
        self, training: StackTraining, policy: Reinforce, state: ReinforceState
    ) -> Process[tuple[Score, ReinforceState]]:
        """One epoch, kept with its rewards, and the state after it, which stays where all models diverged."""
        drawn, searched = policy.ask(state).tolist(), policy.space is self._space
        value = yield from self._done(training.job(drawn, state.epoch, state.epoch + 1, logits=searched))
        try:
            after = policy.tell(state, self._rewards(value))
        except DivergedError as error:
            return self._keep("epoch", training, state.epoch + 1, state.mu, value, str(error)), state
        with self._store.transaction():
            kept = self._keep("epoch", training, after.epoch, after.mu, value)
            self._store.save_state(after.epoch, after.to_dict(), training.name)
        # That of the epoch before stays, should the newest turn out to be lost.
        for old in (after.epoch - 2, *((after.epoch - 1,) if after.epoch == self._epochs else ())):
            training.checkpoint(states_folder(self._store), old).unlink(missing_ok=True)
        return kept, after

    def _done(self, job: Job) -> Process[dict[str, Any]]:
        """What a job gave; the run ends where it failed, which no loss can be blamed for."""
        result = (yield Batch([job]))[job.key]
        if result.status == "ok":
            return {**result.value, "seconds": result.seconds}
        error = failure(result.detail)
        raise error if self._store.scores() else NothingDone(error)

    def _keep(
        self,
        purpose: str,
        training: StackTraining,
        epoch: int,
        theta: Sequence[float],
        value: Mapping[str, Any],
        detail: str = "",
        factor: float | None = None,
    ) -> Score:
        """Keep what a job gave: the best model's metrics and all rewards, under the loss that was found by then."""
        split, best, factors = "test" if purpose == "audit" else "val", value["best"], training.lr_factor
        if factor is None:
            factor = factors if isinstance(factors, float) else factors[best or 0]
        found = {} if best is None else value["scores"][best]
        if not all(math.isfinite(figure) for figure in found.values()):
            found, detail = {}, "figures are not finite"
        rewards = [reward if math.isfinite(reward) else None for reward in self._rewards(value)]
        score = Score(
            training.key(epoch, split),
            purpose,
            {self._slot: text_of(training.space, theta)},
            split,
            training.seed,
            epoch,
            {"lr": self._own.lr * factor},
            "ok" if found else "diverged",
            found,
            detail,
            value["seconds"],
            extra={
                "training": training.name,
                "lr_factor": factor,
                "best": best,
                "rewards": rewards,
                "memory": value.get("memory", 0),
                "parts": value.get("parts", {}),
                "pictures": value.get("pictures", ()),
                "logits": value.get("logits", {}),
            },
        )
        self._store.add_score(score)
        return score

    def _standing(self, training: StackTraining, policy: Reinforce) -> ReinforceState:
        """After the last epoch whose checkpoint is there; from an earlier one the search comes to the same end."""
        kept = self._store.load_state(training.name)
        while kept is not None:
            if self._there(training, kept[0]):
                with self._store.understood("the search's state"):
                    return ReinforceState.from_dict(kept[1])
            kept = self._store.load_state(training.name, before=kept[0])
        return policy.init()

    def _there(self, training: StackTraining, epoch: int) -> bool:
        """Whether a checkpoint is there, whole, or needed no more."""
        path = training.checkpoint(states_folder(self._store), epoch)
        tested = epoch == self._epochs and self._store.score(training.key(epoch, "test")) is not None
        return tested or is_whole(path)

    def _rewards(self, value: Mapping[str, Any]) -> list[float]:
        return [self._metric.worth(own) for own in value["scores"]]

    # -- screen ---------------------------------------------------------------------------------------

    def _better(self, figure: float, other: float) -> bool:
        return figure > other if self._metric.higher else figure < other

    def _words(self, figure: float) -> str:
        return f"{self._metric.label} {self._metric.text(figure)}"

    def _tell(self, model_epochs: int, message: str) -> None:
        """So many epochs of one model are done, or will not be needed."""
        status, total = self._status, self._status.total * self._epochs
        self._model_epochs += model_epochs
        status.done, status.message = self._model_epochs // self._epochs, message or status.message
        if self._model_epochs:
            status.remaining = self._clock.elapsed * (total / self._model_epochs - 1)

    def _show(self, training: StackTraining, policy: Reinforce, score: Score) -> None:
        status, figure, text = self._status, score.metrics[self._metric.name], score.losses[self._slot]
        status.generation, searched = int(score.epochs), policy.space is self._space
        best = status.best.get(self._slot)
        if searched and (best is None or self._better(figure, best[1])):
            status.best[self._slot] = (text, figure)
        sound = [reward for reward in score.extra["rewards"] if reward is not None]
        words = f"least {min(sound):.4f}  mean {sum(sound) / len(sound):.4f}  best {max(sound):.4f}"
        failed = policy.samples - len(sound)
        told = means(policy.space, theta_of(text)) if searched else {}
        status.details = {"rewards": words + (f"  {failed} diverged" if failed else ""), **told}
        done = f"epoch {status.generation}/{self._epochs}"
        self._tell(policy.samples, f"{training.name}: {done}, best {self._words(figure)}")


def name_of(factor: float) -> str:
    """A learning rate's factor as a training's name has it: as short as tells it from all others."""
    return f"{factor:g}" if float(f"{factor:g}") == factor else repr(factor)


def means(space: ParametricSpace, mu: Sequence[float]) -> dict[str, str]:
    """μ in words, by group of parameters (the name before the bracket); of many numbers the least and the greatest."""
    groups: dict[str, list[float]] = {}
    for name, value in zip(space.parameters, mu, strict=True):
        groups.setdefault(f"μ {name.partition('[')[0]}", []).append(value)
    return {
        name: " ".join(f"{value:6.2f}" for value in values)
        if len(values) <= 8
        else f"{min(values):6.2f} to {max(values):.2f}, {len(values)} numbers"
        for name, values in groups.items()
    }
