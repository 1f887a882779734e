"""Trainings side by side as processes of a workbench: a baseline at once, a search epoch by epoch, a look at test.

Every score and every state of a search is kept as soon as it is there, so that each process goes on from where the
store stands, and comes to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cse_autoloss.bench.measure import failure
from cse_autoloss.bench.schedule import Batch, Process, Workbench
from cse_autoloss.bench.session import NothingDone, Session, states_folder
from cse_autoloss.bench.stacked import StackTraining
from cse_autoloss.executors import Job
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.runs import Score
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState, best_of
from cse_autoloss.spaces.parametric import ParametricSpace


class Stacks:
    """Makes the processes of one run, and tells its status how far they are."""

    def __init__(self, session: Session, bench: Workbench, space: ParametricSpace) -> None:
        """
        Args:
            session: its one slot is that of the parametric losses.
            bench: where the processes will be started.
            space: that is searched; a policy over another one is a control.
        """
        self.space = space
        self.session, self.metric = session, session.metric
        self.store, self.status, self.clock = bench.store, bench.status, bench.clock
        self.epochs, self.lr = int(session.config.own.epochs), float(session.config.own.lr)
        self._model_epochs = 0

    def tuning(
        self, title: str, training: StackTraining, space: ParametricSpace, theta: list[list[float]]
    ) -> Process[Score]:
        """A whole baseline: the score of its best model on validation."""
        kept = self.store.score(training.key(self.epochs))
        if kept is None or not self._there(training, self.epochs):
            value = yield from self._done(training.job(theta, 0, self.epochs))
            best = best_of(self._rewards(value))
            kept = self._keep("tune", training, space, self.epochs, theta, theta[best], value)
        self._passed(len(theta) * self.epochs)
        figure = self.metric.figure(kept.extra["worth"])
        if self.status.baseline is None or kept.extra["worth"] > self.metric.figure(self.status.baseline[1]):
            self.status.baseline = (title, figure)
        self._tell(f"{training.name}: validation {self._words(figure)}")
        return kept

    def searching(self, title: str, training: StackTraining, policy: Reinforce) -> Process[Score]:
        """Algorithm 1 from where the store stands to its last epoch: the score after it."""
        store, epochs = self.store, self.epochs
        state = self._standing(training, policy)
        self._passed(policy.samples * state.epoch)
        while state.epoch < epochs:
            kept = store.score(training.key(state.epoch + 1))
            gave_up = kept is not None and not kept.metrics
            after = None if gave_up else (yield from self._generation(title, training, policy, state))
            if after is None:  # this learning rate is too high; another may do
                self._passed(policy.samples * (epochs - state.epoch))
                break
            state = after
            self._passed(policy.samples)
        last = store.score(training.key(min(state.epoch + 1, epochs)))
        assert last is not None
        if not last.metrics:
            self._tell(f"{training.name}: {last.detail}")
        return last

    def _generation(
        self, title: str, training: StackTraining, policy: Reinforce, state: ReinforceState
    ) -> Process[ReinforceState | None]:
        """One epoch: the state after it, kept with its rewards; None where all models diverged."""
        drawn = policy.ask(state).tolist()
        value = yield from self._done(training.job(drawn, state.epoch, state.epoch + 1))
        keep = partial(self._keep, "epoch", training, policy.space, state.epoch + 1, drawn)
        try:
            after = policy.tell(state, self._rewards(value))
        except DivergedError as error:
            keep((), value, str(error))
            return None
        with self.store.transaction():
            score = keep(after.mu, value)
            self.store.save_state(after.epoch, after.to_dict(), training.name)
        # That of the epoch before stays, should the newest turn out to be lost.
        for old in (after.epoch - 2, *((after.epoch - 1,) if after.epoch == self.epochs else ())):
            training.checkpoint(states_folder(self.store), old).unlink(missing_ok=True)
        self._show(title, training, policy, score)
        return after

    def testing(self, training: StackTraining, val: Score) -> Process[Score]:
        """The one look at test of what validation chose."""
        kept = self.store.score(training.key(self.epochs, "test"))
        if kept is None:
            (found,) = (yield from self._done(training.test()))["scores"]
            extra = {"training": training.name}
            kept = training.score("audit", self.epochs, val.losses, val.settings["lr"], found, extra=extra)
            self.store.add_score(kept)
        return kept

    def _done(self, job: Job) -> Process[dict[str, Any]]:
        """What a job gave; the run ends where it failed, which no loss can be blamed for."""
        result = (yield Batch([job]))[job.key]
        if result.status == "ok":
            return {**result.value, "seconds": result.seconds}
        error = failure(result.detail)
        raise error if self.store.scores() else NothingDone(error)

    def _keep(
        self,
        purpose: str,
        training: StackTraining,
        space: ParametricSpace,
        epoch: int,
        theta: Sequence[Sequence[float]],
        found: Sequence[float],
        value: Mapping[str, Any],
        detail: str = "",
    ) -> Score:
        """Keep what a job gave: its best model's metrics, all rewards, and what was `found`: μ, or a setting."""
        best, rewards = value["best"], self._rewards(value)
        factor = training.lr_factor
        chosen = factor if isinstance(factor, float) else factor[best or 0]
        extra = {
            "training": training.name,
            "lr_factor": chosen,
            "best": best,
            "found": list(found),
            "rewards": [reward if math.isfinite(reward) else None for reward in rewards],
            "worth": None if best is None else rewards[best],
            "seconds_train": value["seconds_train"],
            "seconds_score": value["seconds_score"],
        }
        score = training.score(
            purpose,
            epoch,
            {self.session.slots[0]: ParametricLoss(space, theta[best or 0]).text},
            self.lr * chosen,
            None if best is None else value["scores"][best],
            detail=detail,
            seconds=value["seconds"],
            extra=extra,
        )
        self.store.add_score(score)
        return score

    def _standing(self, training: StackTraining, policy: Reinforce) -> ReinforceState:
        """After the last epoch whose checkpoint is there; from an earlier one the search comes to the same end."""
        kept = self.store.load_state(training.name)
        while kept is not None:
            if self._there(training, kept[0]):
                return ReinforceState.from_dict(kept[1])
            kept = self.store.load_state(training.name, before=kept[0])
        return policy.init()

    def _there(self, training: StackTraining, epoch: int) -> bool:
        """Whether a checkpoint is there, or needed no more."""
        path = training.checkpoint(states_folder(self.store), epoch)
        tested = epoch == self.epochs and self.store.score(training.key(epoch, "test")) is not None
        return tested or (path.is_file() and path.stat().st_size > 0)

    # -- screen ---------------------------------------------------------------------------------------

    def _rewards(self, value: Mapping[str, Any]) -> list[float]:
        return [self.metric.worth(own) for own in value["scores"]]

    def _words(self, figure: float) -> str:
        return f"{self.metric.label} {self.metric.text(figure)}"

    def _passed(self, model_epochs: int) -> None:
        """So many epochs of one model are done, or will not be needed."""
        self._model_epochs += model_epochs
        self.status.done = self._model_epochs // self.epochs

    def _tell(self, message: str) -> None:
        status, rest = self.status, self.status.total * self.epochs - self._model_epochs
        status.message = message
        status.remaining = self.clock.elapsed * rest / max(self._model_epochs, 1)

    def _show(self, title: str, training: StackTraining, policy: Reinforce, score: Score) -> None:
        status, figure = self.status, self.metric.figure(score.extra["worth"])
        status.generation, searched = int(score.epochs), policy.space is self.space
        best = status.best.get(status.slot)
        if searched and (best is None or score.extra["worth"] > self.metric.figure(best[1])):
            status.best[status.slot] = (ParametricLoss(policy.space, score.extra["found"]).text, figure)
        sound = [reward for reward in score.extra["rewards"] if reward is not None]
        failed = len(score.extra["rewards"]) - len(sound)
        status.details = {
            "training": f"{title}, epoch {status.generation} of {self.epochs}",
            "rewards": f"least {min(sound):.4f}  mean {sum(sound) / len(sound):.4f}  best {max(sound):.4f}"
            + (f"  {failed} diverged" if failed else ""),
            **(_means(policy.space, score.extra["found"]) if searched else {}),
        }
        self._tell(f"{training.name}: epoch {status.generation}/{self.epochs}, best {self._words(figure)}")


def _means(space: ParametricSpace, mu: Sequence[float]) -> dict[str, str]:
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
