"""The settings of a REINFORCE run: names, types, defaults and bounds; classification.yaml says what they
mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from cse_autoloss.errors import ConfigError, nearest, shorten
from cse_autoloss.settings.plain_yaml import dump_yaml, read_yaml
from cse_autoloss.settings.schema import Count, NotNegative, Number, Positive, Section, Share, Text, Whole

_FOLDER: Final = Path(__file__).parents[1] / "search_configs" / "reinforce"

BASELINE_NAMES = ("softmax", "label-smoothing", "focal", "a-softmax", "cosface", "arcface")
SPACES = ("am-lfs", "search-softmax", "random-softmax")
TASKS = ("classification", "faces", "reid")


class Data(Section):
    """The images; see `tasks.image_splits.load_splits`, `tasks.faces` and `tasks.reid`."""

    source: Text = "digits"
    label_noise: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.0
    val_share: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.2
    train_limit: Count | None = None
    image_size: Annotated[Whole, Field(ge=8, le=1024)] = 32
    grey: bool = False
    shrink: Annotated[Whole, Field(ge=1, le=64)] = 1
    pairs: Path | None = None
    pair_count: Annotated[Whole, Field(ge=10)] = 600
    far: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.01
    re_rank: bool = False


class Training(Section):
    """The models; see `tasks.stacked.TrainingSettings`."""

    model: Literal["mlp", "small", "face", "resnet20"] = "mlp"
    head: Literal["plain", "cosine"] = "plain"
    scale: Positive = 10.0
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 30
    batch: Annotated[Whole, Field(ge=2)] = 50
    lr: Positive = 0.1
    momentum: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: NotNegative = 5e-4
    augment: bool = False


class Search(Section):
    """REINFORCE; see `reinforce.search.Reinforce` and `spaces.am_lfs.AmLfs`."""

    samples: Annotated[Whole, Field(ge=1, le=10_000)] = 32
    intervals: Annotated[Whole, Field(ge=1, le=1000)] = 6
    form: Literal["bounded", "unbounded"] = "bounded"
    least_slope: Annotated[Number, Field(gt=0.0, le=1.0)] = 0.1
    sigma: Positive = 0.2
    lr: Positive = 0.05
    update: bool = True
    copy_best: bool = True


class Comparison(Section):
    """What the searched loss is held against."""

    baselines: tuple[
        Literal["softmax", "label-smoothing", "focal", "a-softmax", "cosface", "arcface"], ...
    ] = (
        "softmax",
        "label-smoothing",
        "focal",
        "a-softmax",
        "cosface",
        "arcface",
    )
    lr_factors: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.1, 0.5, 2.0, 10.0)
    selection_control: bool = True
    confidence: Annotated[Share, Field(gt=0.5, lt=1.0)] = 0.95


class ReinforceConfig(Section):
    """Everything that a REINFORCE run can be told; made by `load_reinforce_config`."""

    space: Literal["am-lfs", "search-softmax", "random-softmax"] = "am-lfs"
    task: Literal["classification", "faces", "reid"] = "classification"
    reward: str | None = None
    seed: Annotated[Whole, Field(ge=0, lt=100_000)] = 0
    seeds: Annotated[Whole, Field(ge=1, le=100)] = 3
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: Data = Data()
    training: Training = Training()
    search: Search = Search()
    comparison: Comparison = Comparison()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.space != "random-softmax" and self.search.update and self.search.samples < 2:
            raise ValueError(
                "search.samples: expected 2 or more: one reward has no variance, so that μ would never move"
            )
        return self


def load_reinforce_config(
    source: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> ReinforceConfig:
    """The configuration of a file, with overrides.

    Args:
        source: a file, or the name of one of the package's ("classification"); None is the defaults.
        overrides: dotted key -> value, for example ``{"search.samples": 8}``.

    Raises:
        ConfigError: no such file, or what it holds, or an override, is not valid; one line a mistake.
    """
    path = _find(source)
    values = read_yaml(path)
    for key, value in (overrides or {}).items():
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {}) if inner.get(section) is not None else _new(inner, section)
            if not isinstance(inner, dict):
                raise ConfigError(f"options: {key}: {section} is a value, not a section")
        inner[last] = value
    return parse_reinforce_config(values, path.name)


def parse_reinforce_config(values: Mapping[str, Any], name: str = "config") -> ReinforceConfig:
    """Checks values, for example those that a run was started with; ConfigError as of
    `load_reinforce_config`."""
    try:
        return ReinforceConfig.model_validate(dict(values))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    lines = []
    for fault in faults:
        key = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{name}: {key}: {_words(fault)}" if key else f"{name}: {_words(fault)}")
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def dump_reinforce_config(config: ReinforceConfig) -> str:
    """YAML text of the whole configuration."""
    return dump_yaml(config.model_dump(mode="json"))


def _find(source: str | Path | None) -> Path:
    name = "classification" if source is None else str(source)
    known = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
    if name in known:
        return _FOLDER / f"{name}.yaml"
    if Path(name).suffix or Path(name).exists():
        return Path(name)
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"expected a file or one of: {', '.join(known)}"
    raise ConfigError(f"{shorten(name)}: no such configuration; {hint}")


def _new(inner: dict[str, Any], section: str) -> dict[str, Any]:
    inner[section] = {}
    made: dict[str, Any] = inner[section]
    return made


def _words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        known = _keys(fault["loc"][:-1])
        close = nearest(str(fault["loc"][-1]), known)
        return "unknown key; " + (
            f"did you mean {close!r}?" if close else f"expected one of: {', '.join(known)}"
        )
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "literal_error":
        return f"expected {fault['ctx']['expected']}, got {shorten(repr(fault['input']))}"
    return f"{fault['msg']}, got {shorten(repr(fault['input']))}"


def _keys(place: tuple[int | str, ...]) -> list[str]:
    kind: Any = ReinforceConfig
    for part in place:
        field = getattr(kind, "model_fields", {}).get(part)
        kind = field.annotation if field is not None else None
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
