"""What a task is to the rest of the package; `cse_autoloss.testing.tasks` tests whether one keeps to it.

A task says what is trained and how it is scored. Whoever searches, compares or audits losses knows it through this
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.settings.fields import Optimizer, Precision, Section
from cse_autoloss.tasks.parts import Part
from cse_autoloss.tasks.pictures import Picture
from cse_autoloss.verdict import Verdict

SplitName = Literal["val", "test"]

DRAWN = 1_000_000_000
"""Seeds of fresh draws begin here: no search, tuning or default has them, and `seed: 1` of another run neither."""


def drawn_seed(seed: int, draw: int) -> int:
    """The seed that a draw of the data has in the place of `seed`; draw 0 is the seed itself."""
    return DRAWN + 1000 * (seed % 1_000_000) + draw if draw else seed


LossFunction = Callable[..., Any]
"""A slot's loss as `train` gets it: called as its signature says, it gives the scalar sum over samples."""


@dataclass(frozen=True)
class Metric:
    """A figure that a training is scored by.

    Attributes:
        name: for example "ap".
        higher: whether higher is better.
        title: as tables print it, for example "AP".
        factor: what tables multiply it by: 100 for shares.
        digits: behind the point, in tables.
        worst: what a training that failed counts as.
        range: least and most that it can be; a figure with the factor 100 is a share, of [0, 1], where none is told.
    """

    name: str
    higher: bool = True
    title: str = ""
    factor: float = 100.0
    digits: int = 2
    worst: float = 0.0
    range: tuple[float, float] | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """`range`, or what the factor tells of it."""
        return self.range or ((0.0, 1.0) if self.factor == 100.0 else (-math.inf, math.inf))

    def worth(self, metrics: Mapping[str, float]) -> float:
        """What searches climb: the figure, negated where lower is better; `worst` where there is none."""
        value = metrics.get(self.name, self.worst)
        return value if self.higher else -value

    def figure(self, worth: float) -> float:
        """The inverse of `worth`."""
        return worth if self.higher else -worth

    def text(self, value: float, digits: int | None = None, sign: str = "") -> str:
        """The figure as tables print it."""
        return f"{value * self.factor:{sign}.{self.digits if digits is None else digits}f}"

    @property
    def label(self) -> str:
        """`title`, or the name."""
        return self.title or self.name


@dataclass(frozen=True)
class Tunable:
    """A setting of a training that is tuned for every contestant alike.

    Attributes:
        name: "lr", "box_weight", ...
        default: what the search trains with.
        span: least and greatest factor on the default that the tuning tries.
        slot: the slot whose loss it multiplies; empty for settings that are no weight of a loss.
    """

    name: str
    default: float
    span: tuple[float, float] = (1.0, 1.0)
    slot: str = ""


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and what it is scored on.

    Attributes:
        epochs: passes over the training data.
        train_limit: train on the first so many samples only; None for all.
        until: pause after so many epochs, and score what there is; None for the end.
        score_limit: score on the first so many samples only; None for all.
        state: file that a pause leaves the training's state in, and that it is gone on from where it is there. The
            result is the same without it, but takes longer.
        show: whether `TaskScore.pictures` are wanted.
        optimizer: "sgd", or "muon" where the search asks for it, of a task that `quickens`.
        precision: of the forward pass; None for that of the task's settings.
    """

    epochs: float
    train_limit: int | None = None
    until: float | None = None
    score_limit: int | None = None
    state: Path | None = None
    show: bool = False
    optimizer: Optimizer = "sgd"
    precision: Precision | None = None


@dataclass(frozen=True)
class TaskScore:
    """What a training reached.

    Attributes:
        metrics: finite figures by name; empty where the training failed.
        status: "ok", or "diverged" when a loss or its gradient was not finite at some step.
        detail: why, in words; empty when there is nothing to say.
        seconds_train, seconds_score: wall time; where they are not told, the whole is taken.
        epochs_trained: that were done in this call, where an earlier one's state was gone on from; 0 for all.
        train_samples: that there are to train on; 0 where a schedule's `train_limit` means nothing to the task.
        parts: what the metrics are made of, by what a table calls it: a figure of each class; told by `compare`.
        pictures: what the run's page draws of the model, if the schedule asks and the task has any.
        logits: where the model has its logits, as `TargetLogits.to_dict`; if the schedule asks for pictures and the
            head is a softmax.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    status: Literal["ok", "diverged"] = "ok"
    detail: str = ""
    seconds_train: float = 0.0
    seconds_score: float = 0.0
    epochs_trained: float = 0.0
    train_samples: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    logits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, metrics: Mapping[str, float], **rest: Any) -> Self:
        """A score; "diverged" where a metric is not finite."""
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if broken:
            return cls({}, "diverged", f"{', '.join(broken)} not finite", **rest)
        return cls(dict(metrics), **rest)


class Simulation(Protocol):
    """The second filter of one task: does a small model learn with a loss?"""

    def run_batch(self, graphs: Sequence[LossGraph], *, alpha: float | None = None) -> Sequence[Verdict]:
        """A verdict for each loss, all of one signature."""
        ...


class Task(Protocol):
    """Trains a model with losses that are handed to it, and scores it.

    A task of your own inherits this class, and with it what it need not say: attributes that have a value below, and
    methods that do nothing.

    A task is made of its settings and a device at no cost: whatever takes time (reading data) waits for the first
    `train`, `check` or `simulation`, so that the process which only plans a run does not pay for it.

    Attributes:
        name: as `--task` takes it.
        Settings: model of the configuration's section of that name.
        pauses: whether `train` keeps to `until`, `score_limit` and `state` of its schedule. To one that does not they
            are never given: its candidates are all trained to the end.
        quickens: whether `train` keeps to `optimizer` and `precision` of its schedule. Another's search has SGD and the
            task's precision.
        simulates: whether `simulation` gives a filter.
        cosine_scale: s of a head whose logits are s·cos θ, where margin losses may be compared; None for any other.
        stacks: whether models can be trained side by side, each with a loss of its own: then it has `stack`,
            `train_epoch` and `scores` of `tasks.stacked.StackedTask`, and its settings are `TrainingSettings`.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Section]]
    pauses: ClassVar[bool] = False
    quickens: ClassVar[bool] = False
    simulates: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    cosine_scale: float | None = None
    settings: Any
    device: Any

    def __init__(self, settings: Any, device: str = "cpu") -> None:
        self.settings, self.device = settings, device

    @property
    def slots(self) -> Mapping[str, Signature]:
        """The losses that it takes: slot -> signature."""
        raise NotImplementedError

    @property
    def metrics(self) -> Sequence[Metric]:
        """What it is scored by; the first is climbed unless another is asked for."""
        raise NotImplementedError

    @property
    def tunables(self) -> Sequence[Tunable]:
        """What is tuned for every contestant, the weights of slots first and the learning rate last."""
        return ()

    @property
    def baselines(self) -> Sequence[Mapping[str, str]]:
        """The losses that people use, slot -> formula or catalogue name, by how much would be lost if one were left
        out for lack of time; the first is the plain one, the second the strongest known."""
        raise NotImplementedError

    @property
    def notes(self) -> Sequence[str]:
        """What the reader of the results should know of the data, in words, as far as the settings tell it."""
        return ()

    progress: Callable[[int, int], None] = staticmethod(lambda done, total: None)
    """Told by `check` how many of how many samples it has looked at; whoever calls it may set this before."""

    @property
    def alone(self) -> str:
        """Why trainings can't go side by side in one process, in words; empty where they can, by `train_together`."""
        return f"a model of {self.name} is trained alone"

    @property
    def data_digest(self) -> str:
        """Of the files that the settings name; empty where there are none. A run does not go on with other ones."""
        return ""

    def drawn(self, draw: int) -> Any:
        """Settings of this task on a draw of its data that nobody has seen; None where nothing is drawn.

        The same number, from 1 on, gives the same data.

        Whatever is drawn differs: scenes, wrong labels. Whoever must stay apart from the training (test rows, writers)
        does: what search and tuning learnt from is never in a draw's test split.
        """
        return None

    def check(self) -> Sequence[str]:
        """Read the data, so that what is wrong with them is said before anything is trained; notes on them.

        Raises:
            DataError: they can't be used, in one line.
        """
        return self.notes

    def parts(self) -> Mapping[str, Part]:
        """What the files hold, part by part, for `inspect_data`; none where there is nothing to look at."""
        return {}

    def train(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
        split: SplitName,
    ) -> TaskScore:
        """Train with the losses and score.

        A loss or gradient that is not finite is a finding: its score is "diverged". A loss that raises is none: the
        error goes on to the caller, who records a failed training.

        Args:
            losses: of each slot.
            seed: of weights and batches; the same for every loss that is compared.
            schedule: length and limits.
            settings: values of the tunables; what is missing has its default.
            split: "test" is for the final audit alone.
        """
        raise NotImplementedError

    def train_together(
        self,
        losses: Sequence[Mapping[str, LossFunction]],
        *,
        seed: int,
        schedules: Sequence[Schedule],
        settings: Mapping[str, float],
    ) -> Sequence[TaskScore]:
        """What `train` gives on validation for each of several losses, up to rounding.

        Args:
            losses: B times those of each slot.
            seed, settings: as of `train`, for all.
            schedules: B, that differ in `state` alone; with SGD, in float32 or bfloat16.
        """
        raise NotImplementedError

    def simulation(self, settings: Any) -> Simulation | None:
        """The second filter; None where the task has none, and candidates go from verification to training.

        Args:
            settings: the configuration's section `simulate`.
        """
        return None
