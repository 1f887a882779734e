"""The settings of a run: their names, types, defaults and bounds. What they mean stands in detection.yaml, and for
REINFORCE in classification.yaml.

The models that check a file are what the parts of a run read: `config.verify` is a `VerifySettings`. What a task can
be told stands in a section of its own, named as the task: see `config_model`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.settings.fields import (
    Count,
    NotNegative,
    Number,
    Optimizer,
    Positive,
    Precision,
    Seconds,
    Section,
    Share,
    Text,
    Whole,
    Written,
    check_order,
)
from cse_autoloss.settings.filters import SimulateSettings, VerifySettings
from cse_autoloss.settings.papers import unlike_papers

BaselineName = Literal["softmax", "label-smoothing", "focal", "a-softmax", "cosface", "arcface"]
SpaceName = Literal["am-lfs", "search-softmax", "random-softmax", "search-sigmoid", "ap"]


def _automatic(value: Any) -> Any:
    return None if value == "auto" else value


class EvolutionSettings(Section):
    """How candidates are bred; see `searches.evolution`."""

    population: Annotated[Whole, Field(ge=2, le=100_000)] = 40
    offspring: Count = 16
    batch: Count = 200
    attempts: Count = 20
    handcrafted_seeds: bool = True
    scouts: Annotated[Whole, Field(ge=0, le=10_000_000)] = 20_000
    random_fraction: Share = 0.15
    choose_from: Annotated[Number, Field(ge=1.0, le=100.0)] = 2.0
    tournament: Count = 4
    crossover: Share = 0.4
    subtree_mutation: Share = 0.2
    point_mutation: Share = 0.25
    fade: Share = 0.4
    families: Share = 0.3
    numbers: Share = 0.15
    turns: tuple[Text, ...] = ("cls", "reg", "cls")
    max_depth: Annotated[Whole, Field(ge=2, le=60)] = 16
    max_nodes: Annotated[Whole, Field(ge=3, le=500)] = 96
    init_depth: tuple[Count, Count] = (2, 5)
    operators: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    elite: Annotated[Whole, Field(ge=0)] = 1
    max_seeds: Count = 3
    combine: Count = 3
    combine_epochs: Positive | None = None
    combine_seeds: Count = 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = self.crossover + self.subtree_mutation + self.point_mutation
        if total > 1.0 + 1e-9:
            raise ValueError(
                f"expected crossover + subtree_mutation + point_mutation <= 1, got {total:g}"
                " (constant mutation gets the rest)"
            )
        check_order("init_depth", self.init_depth)
        for name, value, limit, bound in (
            ("init_depth", self.init_depth[1], "max_depth", self.max_depth),
            ("elite", self.elite, "population", self.population),
            ("tournament", self.tournament, "population", self.population),
        ):
            if value > bound:
                raise ValueError(f"{name}: expected at most {limit} = {bound}, got {value}")
        return self


class SurrogateSettings(Section):
    """The model of slopes that chooses whom to train; see `surrogate`."""

    pool: Annotated[Whole, Field(ge=0, le=100_000)] = 1000
    memory: bool = True
    learn_from: tuple[Text, ...] = ()


class ReinforceSettings(Section):
    """REINFORCE over a parametric space, and what its losses are held against; see `searches.reinforce`."""

    space: SpaceName = "am-lfs"
    side_by_side: bool = False
    samples: Annotated[Whole, Field(ge=1, le=10_000)] = 32
    intervals: Annotated[Whole, Field(ge=1, le=1000)] = 6
    form: Literal["bounded", "unbounded"] = "bounded"
    least_slope: Annotated[Number, Field(gt=0.0, le=1.0)] = 0.1
    continuous: bool = False
    sigma: Positive = 0.2
    sigma_decay: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    antithetic: bool = False
    rank_rewards: bool = False
    reward_baseline: Literal["mean", "moving", "none"] = "mean"
    sigma_lr: NotNegative = 0.0
    reuse: Annotated[Whole, Field(ge=0, le=100)] = 0
    paper: bool = False
    lr: Positive = 0.05
    update: bool = True
    copy_best: bool = True
    seeds: Annotated[Whole, Field(ge=1, le=100)] = 3
    baselines: tuple[BaselineName, ...] = get_args(BaselineName)
    lr_factors: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.1, 0.5, 2.0, 10.0)
    selection_control: bool = True
    alone: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.space != "random-softmax" and self.update and self.samples < 2:
            raise ValueError(
                "samples: expected 2 or more: one reward has no variance, so that μ would never move"
            )
        for name in ("baselines", "lr_factors"):
            told = getattr(self, name)
            twice = next((one for at, one in enumerate(told) if one in told[:at]), None)
            if twice is not None:
                raise ValueError(f"{name}: {twice!r} stands there twice")
        unlike = unlike_papers(self.space, self.model_dump()) if self.paper else ""
        if unlike:
            raise ValueError(unlike)
        return self


class ProxySettings(Section):
    """The short trainings that score candidates."""

    epochs: Positive = 15
    limit_factor: Annotated[Number, Field(ge=1.0)] = 5.0
    halving: tuple[Annotated[Number, Field(gt=0.0, lt=1.0)], ...] = (0.1667,)
    whole_slots: tuple[Text, ...] = ("reg",)
    keep: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    floor: Share = 0.1
    rung_samples: Count = 100
    optimizer: Optimizer = "sgd"
    precision: Precision | Literal["auto"] | None = "auto"
    stack: Annotated[Annotated[Whole, Field(ge=1, le=256)] | None, BeforeValidator(_automatic)] = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.halving) != sorted(set(self.halving)):
            raise ValueError(f"halving: expected rising shares of the schedule, got {list(self.halving)}")
        return self


class AuditSettings(Section):
    """The comparison of winners and baselines on data that the search never saw; see `audit.AuditPlan`."""

    replaced: ClassVar = {
        "inner": "trainings of each contestant's tuning are audit.tuning",
        "edge_steps": "audit.tuning trainings go over the whole of audit.ranges",
        "tune_seeds": "a quarter of audit.tuning's trainings have a second seed",
        "grid": "the least and greatest factor of a tunable are in audit.ranges",
    }

    share: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.5
    finalists: Count = 3
    baselines: Count = 7
    tuning: Annotated[Whole, Field(ge=1, le=1000)] = 16
    ranges: dict[Text, tuple[Positive, Positive]] = Field(default_factory=dict)
    negative_weight: bool = False
    tune_epochs: Positive = 15
    seeds: Annotated[Whole, Field(ge=2, le=1000)] = 10
    epochs: Positive = 15
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = 0.95
    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000
    draws: Annotated[Whole, Field(ge=0, lt=1000)] = 20

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, span in self.ranges.items():
            check_order(f"ranges: {name}", span)
        return self


_MOST_ASKED = 100_000
# Ray counts in ten thousandths.
_Amount = Annotated[Number, Field(ge=1e-4, le=_MOST_ASKED)]
_NAMED_ELSEWHERE = {"cpu": "ray.num_cpus", "gpu": "ray.num_gpus"}


def _gpus(value: float) -> float:
    if 0 < value < 1e-4 or (value > 1 and value != int(value)):
        raise ValueError("expected a whole number of GPUs, or a part of one")
    return value


def _other_names(value: Any) -> Any:
    for name in map(str, value) if isinstance(value, dict) else ():
        if name.lower() in _NAMED_ELSEWHERE:
            raise ValueError(f"expected no {name}: that is {_NAMED_ELSEWHERE[name.lower()]}")
        if name.lower() in ("memory", "object_store_memory"):
            raise ValueError(f"expected no {name}: of memory, nothing is asked for")
    return value


class RaySettings(Section):
    """The cluster of `executor: ray`; see docs/cluster.md."""

    address: Text | None = None
    num_cpus: _Amount = 1
    num_gpus: Annotated[Number, Field(ge=0.0, le=_MOST_ASKED), AfterValidator(_gpus)] | None = None
    resources: Annotated[dict[Text, _Amount], BeforeValidator(_other_names)] = Field(default_factory=dict)


class SearchConfig(Section):
    """Everything that a run can be told but what its task can; `config_model` adds that.

    Made by `cse_autoloss.settings.load.load_config`.
    """

    section: ClassVar[str] = ""
    """Key of the task's own section."""

    task: Text = "detection"
    search: Text = "evolution"
    slot: Text | None = None
    metric: Text | None = None
    seed: Annotated[Whole, Field(ge=0, lt=100_000)] = 0
    budget: Seconds | None = 1200.0
    generations: Count | None = None
    executor: Literal["pool", "inprocess", "ray"] = "pool"
    workers: Annotated[Annotated[Whole, Field(ge=1, le=1024)] | None, BeforeValidator(_automatic)] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    per_device: Annotated[Annotated[Whole, Field(ge=1, le=1024)] | None, BeforeValidator(_automatic)] = None
    out: Written = None
    log: Literal["tensorboard", "mlflow", "wandb"] | None = None
    seed_losses: tuple[Text, ...] = ()
    alpha: Annotated[Number, Field(gt=0.0, lt=1.0)] | None = None
    simulate_limit: Seconds = 20.0
    ray: RaySettings = RaySettings()
    evolution: EvolutionSettings = EvolutionSettings()
    surrogate: SurrogateSettings = SurrogateSettings()
    reinforce: ReinforceSettings = ReinforceSettings()
    verify: VerifySettings = VerifySettings()
    simulate: SimulateSettings = SimulateSettings()
    proxy: ProxySettings = ProxySettings()
    audit: AuditSettings = AuditSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.budget is None and self.generations is None:
            raise ValueError(
                "expected a budget or a number of generations: with neither, a search never ends"
            )
        return self

    @property
    def looking(self) -> VerifySettings:
        """`verify`, with the run's seed where it names none."""
        return (
            self.verify
            if self.verify.seed is not None
            else self.verify.model_copy(update={"seed": self.seed})
        )

    @property
    def own(self) -> Any:
        """The task's section: `config.detection` of a detection run."""
        return getattr(self, self.section)


@lru_cache(maxsize=64)
def config_model(task: str, section: type[Section]) -> type[SearchConfig]:
    """The model of a task's configurations: `SearchConfig`, and the task's section under the task's name.

    Args:
        task: "detection", or "FILE.py:NAME", whose section is called NAME.
        section: what the task can be told.

    Raises:
        ConfigError: a section can't be called so.
    """
    name = section_key(task)
    taken = name in SearchConfig.model_fields or hasattr(SearchConfig, name)
    if taken or not name.isidentifier() or name.startswith(("_", "model_")):
        raise ConfigError(f"a task can't be called {shorten(name)!r}")
    fields: dict[str, Any] = {"task": (Text, task), name: (section, {})}
    model = create_model("SearchConfig", __base__=SearchConfig, **fields)
    model.section = name
    return model


def section_key(task: str) -> str:
    """Key of a task's section: its name, less the file that it is in."""
    return task.rpartition(":")[2]
