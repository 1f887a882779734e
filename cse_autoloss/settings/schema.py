"""The settings of a search: their names, types, defaults and bounds. What they mean stands in detection.yaml.

The sections `detection`, `verify` and `simulate` have the fields of those parts' own settings, so that
``VerifySettings(**config.verify.model_dump())`` works; importing this imports neither them nor torch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.settings.durations import parse_duration


def _number(value: Any) -> Any:
    """A text like "1e-3", which some YAML writers quote, is a number; true and false are none."""
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    if isinstance(value, str):
        try:
            return float(value) if len(value) < 50 else value
        except ValueError:
            return value
    return value


def _seconds(value: Any) -> Any:
    try:
        return parse_duration(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _automatic(value: Any) -> Any:
    return None if value == "auto" else value


def _like(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {shorten(value)!r}")
        return value

    return AfterValidator(check)


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0.0, le=1.0)]
Count = Annotated[Whole, Field(ge=1)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, values: Any) -> Any:
        """A section whose lines are all comments reads as null: it means the defaults."""
        return {} if values is None else values


def _ordered(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{name}: expected [least, most], got {list(bounds)}")


class Scenes(Section):
    """The embedded scenes of handwriting; see `tasks.scenes.SceneSettings`."""

    canvas: Annotated[Whole, Field(ge=16, le=1024)] = 64
    digits: tuple[Count, Count] = (1, 4)
    size: tuple[Count, Count] = (12, 28)
    clutter: Annotated[Whole, Field(ge=0)] = 0
    overlap: Share = 0.1
    class_exponent: NotNegative = 0.0
    contrast: tuple[Positive, Share] = (0.5, 1.0)
    noise: NotNegative = 0.08
    counts: tuple[Count, Count, Count] = (800, 400, 800)
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered("digits", self.digits)
        _ordered("size", self.size)
        _ordered("contrast", self.contrast)
        if self.size[1] > self.canvas:
            raise ValueError(f"size: expected at most the canvas of {self.canvas} pixels, got {self.size[1]}")
        return self


class Faults(Section):
    """Faults made in the annotations to train on; see `tasks.faults.AnnotationFaults`."""

    unlabelled: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    mislabelled: Share = 0.0
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = 0


class Detection(Section):
    """Data, model and optimiser of a training; see `tasks.detection.DetectionSettings`."""

    data: Annotated[str, _like(r"digits|coco:.+", "'digits' or 'coco:DIR'")] = "digits"
    scenes: Scenes = Scenes()
    faults: Faults = Faults()
    image_size: Annotated[Whole, Field(ge=32, le=4096)] = 128
    train_file: Text = "train.json"
    val_file: Text = "val.json"
    test_file: Text = "test.json"
    image_folder: Text = "."
    skip_bad: bool = False
    cache: Path | None = None
    detector: Text = "one-stage"
    batch: Count = 16
    lr: Positive = 0.15
    weight_decay: NotNegative = 1e-2
    box_weight: Positive = 2.0


class Evolution(Section):
    """How candidates are bred; see `evolution.EvolutionRates` and `search.SearchPlan`."""

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
    max_depth: Annotated[Whole, Field(ge=2, le=60)] = 10
    max_nodes: Annotated[Whole, Field(ge=3, le=500)] = 48
    init_depth: tuple[Count, Count] = (2, 5)
    operators: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    elite: Annotated[Whole, Field(ge=0)] = 4
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
        _ordered("init_depth", self.init_depth)
        for name, value, limit, bound in (
            ("init_depth", self.init_depth[1], "max_depth", self.max_depth),
            ("elite", self.elite, "population", self.population),
            ("tournament", self.tournament, "population", self.population),
        ):
            if value > bound:
                raise ValueError(f"{name}: expected at most {limit} = {bound}, got {value}")
        return self


class Verify(Section):
    """Thresholds of the convergence properties; see `verification.VerifySettings`."""

    sign_tolerance: Share = 1e-4
    vanish_share: Share = 0.05
    flat: NotNegative = 1e-6
    fall_share: Share = 1e-5


class Simulate(Section):
    """The small training that a candidate must pass before a proxy training; see `SimulateSettings`."""

    share: NotNegative = 0.4
    steps: Count = 30
    lr: Positive = 0.04
    lr_box: Positive = 0.015
    clip: Positive = 10.0
    width: Annotated[Whole, Field(ge=4, multiple_of=4)] = 24
    hidden: Count = 32
    trunk_steps: Annotated[Whole, Field(ge=0)] = 100
    box_weight: Positive = 2.0
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = 0


class Proxy(Section):
    """The short trainings that score candidates."""

    epochs: Positive = 10
    limit_factor: Annotated[Number, Field(ge=1.0)] = 5.0
    halving: tuple[Annotated[Number, Field(gt=0.0, lt=1.0)], ...] = (0.1667,)
    halving_branch: Literal["cls", "reg", "both"] = "cls"
    keep: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    floor: Share = 0.1
    rung_scenes: Count = 100

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.halving) != sorted(set(self.halving)):
            raise ValueError(f"halving: expected rising shares of the schedule, got {list(self.halving)}")
        return self


class Refine(Section):
    """The tuning of the best pair's weights; see `refining.Refining`."""

    generations: Annotated[Whole, Field(ge=0, le=100)] = 0
    offspring: Annotated[Whole, Field(ge=4, le=1000)] = 10
    step: Annotated[Number, Field(gt=0.0, le=2.0)] = 0.3
    seeds: Count = 5


class Audit(Section):
    """The comparison of winners and baselines on data that the search never saw; see `audit.AuditPlan`."""

    share: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.5
    finalists: Count = 3
    baselines: Count = 7
    box_weights: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2.0, 4.0, 1.0)
    lr_factors: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 0.5)
    tune_epochs: Positive = 15
    tune_seeds: Count = 1
    edge_steps: Annotated[Whole, Field(ge=0, le=10)] = 2
    seeds: Annotated[Whole, Field(ge=2, le=1000)] = 5
    epochs: Positive = 15
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = 0.95
    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000


class SearchConfig(Section):
    """Everything that a search can be told; made by `cse_autoloss.settings.load.load_config`."""

    task: Literal["detection"] = "detection"
    branch: Literal["cls", "reg", "both"] = "both"
    seed: Annotated[Whole, Field(ge=0, lt=100_000)] = 0
    budget: Seconds | None = 1200.0
    generations: Count | None = None
    executor: Literal["pool", "inprocess", "ray"] = "pool"
    workers: Annotated[Annotated[Whole, Field(ge=1, le=1024)] | None, BeforeValidator(_automatic)] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    out: Path | None = None
    seed_losses: tuple[Text, ...] = ()
    alpha: Annotated[Number, Field(gt=0.0, lt=1.0)] | None = None
    simulate_limit: Seconds = 20.0
    detection: Detection = Detection()
    evolution: Evolution = Evolution()
    verify: Verify = Verify()
    simulate: Simulate = Simulate()
    proxy: Proxy = Proxy()
    refine: Refine = Refine()
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.budget is None and self.generations is None:
            raise ValueError(
                "expected a budget or a number of generations: with neither, a search never ends"
            )
        return self
