"""A searched loss as a torch module, and as the loss.json that it is kept in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.errors import ConfigError, DataError, UnknownNameError, shorten
from cse_autoloss.losses.ranking import ranked
from cse_autoloss.losses.reduction import ReducedLoss, reduce, share
from cse_autoloss.losses.taking import Taking
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.spaces.checks import check_classification, columns_of
from cse_autoloss.spaces.parametric import ParametricSpace, signature_of_space
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
from cse_autoloss.spaces.search_softmax import RandomSoftmax, SearchSoftmax

SPACE_TYPES: Mapping[str, type[AmLfs] | type[SearchSoftmax] | type[ApSpace]] = {
    "am-lfs": AmLfs,
    "search-softmax": SearchSoftmax,
    "random-softmax": RandomSoftmax,
    "search-sigmoid": SearchSigmoid,
    "ap": ApSpace,
}

FORMAT = 1
"""The version of a parametric loss's JSON that is read; a job's text names none."""
MOST_THETA = 1e9
"""Beyond it losses overflow in float32."""
_KEYS = ("format", "space", "theta", "path", "provenance")


class ParametricLoss(ReducedLoss):
    """One loss of a space: `loss(logits, target)`, logits (N, C), s·cos θ where features are normalised.

    A space of sigmoid heads reads iou (N,) besides. Its mean is over all logits or, where a batch is one ranking, over
    the samples with an object.

    Attributes:
        space: whose loss it is.
        theta: (K,) float64.
        taking: which targets are ignored.
        provenance: what a loss.json says of where it comes from; free data, never interpreted.
    """

    def __init__(self, space: ParametricSpace, theta: Sequence[float], reduction: str = "mean") -> None:
        """`theta` has K values of at most `MOST_THETA`."""
        super().__init__(reduction)
        self.space, self.provenance, self.taking = space, dict[str, Any](), Taking()
        self.signature = signature_of_space(space)
        self.whole = getattr(space, "whole", self.signature == CLS_BINARY)
        self.theta: Tensor
        self.register_buffer("theta", _checked(space, [theta])[0].clone())

    def forward(self, logits: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
        """The loss; DataError where shapes, types or class indices do not fit. Softmax heads make no use of `iou`."""
        columns, ignored = columns_of(logits), self.taking.ignore_index
        if self.signature == CLS_BINARY:
            meaning = f"{columns} is the background"
            check_classification(logits, target, iou, highest=columns, meaning=meaning, ignore_index=ignored)
            if self.whole:
                return ranked(self._of_sigmoids, self.taking, self.reduction, logits, target, iou)
            # The mean is over all logits, as that of expressions.
            logits, target, iou, kept = self.taking.kept(logits, target, iou)
            found = share(self._of_sigmoids(logits, target, iou), None, kept, self.reduction)
            return found / columns if self.reduction == "mean" else found
        meaning = "there is no background"
        check_classification(logits, target, None, highest=columns - 1, meaning=meaning, ignore_index=ignored)
        if self.taking.counts_all(target):
            return reduce(self.space.loss(logits, target, self.theta), self.reduction)
        logits, target, _, kept = self.taking.kept(logits, target, None)
        return share(self.space.loss(logits, target, self.theta), None, kept, self.reduction)

    def _of_sigmoids(self, logits: Tensor, target: Tensor, iou: Tensor | None) -> Tensor:
        return self.space.loss(logits, target, self.theta, iou)  # type: ignore[call-arg]

    @property
    def text(self) -> str:
        """The loss as `load_loss` and jobs take it."""
        return text_of(self.space.to_dict(), self.theta.tolist())

    @property
    def title(self) -> str:
        """For tables: the space and its numbers."""
        numbers = ", ".join(f"{value:.3g}" for value in self.theta.tolist())
        return f"{self.space.name}({numbers})"

    def to_dict(self) -> dict[str, Any]:
        """What loss.json holds."""
        return {"format": FORMAT, "space": self.space.to_dict(), "theta": self.theta.tolist()}

    @classmethod
    def from_text(
        cls, text: str | bytes, reduction: str = "mean", where: str = "parametric loss"
    ) -> ParametricLoss:
        """The loss of a `text`, or of what a loss.json holds; DataError where it is none, with `where` it stands."""
        try:
            data = json.loads(text)
            for key in data:
                if key not in _KEYS:
                    raise DataError(f"{where}: {UnknownNameError.of('key', key, _KEYS)}")
            if data.get("format", FORMAT) != FORMAT or isinstance(data.get("format"), bool):
                raise DataError(f"{where}: format: expected {FORMAT}, got {shorten(repr(data['format']))}")
            settings = dict(data["space"])
            space = make_space(settings.pop("name"), **settings)
            theta = [float(value) for value in data["theta"]]
            loss = (
                ParametricSchedule(space, data["path"], reduction)
                if "path" in data
                else cls(space, theta, reduction)
            )
            loss.provenance = dict(data.get("provenance", {}))
            return loss
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(f"{where}: not the JSON of a parametric loss: {shorten(repr(error))}") from None
        except (ConfigError, UnknownNameError) as error:
            raise type(error)(f"{where}: {error}") from None


class ParametricSchedule(ParametricLoss):
    """A loss an epoch, as μ moved: call `set_epoch` before each. After the path's end its last loss stays.

    Attributes:
        path: (epochs, K) float64, θ by epoch from 0.
    """

    def __init__(
        self, space: ParametricSpace, path: Sequence[Sequence[float]], reduction: str = "mean"
    ) -> None:
        """`path`: at least one θ; training begins with the first."""
        if not path:
            raise ConfigError("path: expected at least one θ")
        super().__init__(space, path[0], reduction)
        self.path: Tensor
        self.register_buffer("path", _checked(space, path))

    def to_dict(self) -> dict[str, Any]:
        """What schedule.json holds."""
        return {**super().to_dict(), "path": self.path.tolist()}

    @property
    def text(self) -> str:
        """All of the path; the loss itself may stand anywhere on it."""
        path = self.path.tolist()
        return json.dumps({"space": self.space.to_dict(), "theta": path[0], "path": path}, sort_keys=True)

    @property
    def title(self) -> str:
        """For tables: the space and how many losses."""
        several = f"{self.space.name}, {len(self.path)} losses one after another"
        return several if len(self.path) > 1 else super().title

    def quarters(self) -> dict[int, ParametricLoss]:
        """Epoch -> its loss by itself, reduced as this one: the path's first, its last, and what lies between in
        quarters."""
        last = len(self.path) - 1
        epochs = dict.fromkeys(round(last * quarter / 4) for quarter in range(5))
        return {one: ParametricLoss(self.space, self.path[one].tolist(), self.reduction) for one in epochs}

    def set_progress(self, share: float) -> None:
        """What share of the training is done, from 0 to 1: the path spans it all, however long it is."""
        if not _is(Real, share) or not 0 <= share <= 1:
            raise ConfigError(f"progress: expected a number from 0 to 1, got {shorten(repr(share))}")
        self.set_epoch(min(int(share * len(self.path) + 1e-9), len(self.path) - 1))

    def set_epoch(self, epoch: int) -> None:
        """Train the epoch `epoch`, from 0, next."""
        if not _is(Integral, epoch) or epoch < 0:
            raise ConfigError(f"epoch: expected a whole number of at least 0, got {shorten(repr(epoch))}")
        self.theta.copy_(self.path[min(epoch, len(self.path) - 1)])


def _checked(space: ParametricSpace, path: Sequence[Sequence[float]]) -> Tensor:
    """θs as they are kept, (epochs, K) float64; ConfigError where there are not K numbers, or one is out of range."""
    count = len(space.parameters)
    for theta in path:
        if len(theta) != count:
            raise ConfigError(f"theta: expected {count} finite numbers, got {len(theta)} values")
    kept = torch.tensor([[float(value) for value in theta] for theta in path], dtype=torch.float64)
    kept = kept.reshape(len(path), count)
    if not bool(kept.isfinite().all()):
        raise ConfigError(f"theta: expected {count} finite numbers, got one that is not finite")
    if count and float(kept.abs().max()) > MOST_THETA:
        raise ConfigError(
            f"theta: expected numbers of at most {MOST_THETA:g}, got {float(kept.abs().max()):g}"
        )
    return kept


def _is(kind: type, value: Any) -> bool:
    """Whether it is a number of a kind, of Python or numpy; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def text_of(space: Mapping[str, Any], theta: Sequence[float]) -> str:
    """The text of a loss of a space, which is given as its `to_dict`."""
    return json.dumps({"space": dict(space), "theta": list(theta)}, sort_keys=True)


def is_parametric(text: str) -> bool:
    """Whether a loss's text is the JSON of a parametric one."""
    return text.startswith("{")


def title_of(text: str) -> str:
    """A loss's text for tables: of a parametric one its space and numbers."""
    return ParametricLoss.from_text(text).title if is_parametric(text) else text


def make_space(name: str, **settings: Any) -> ParametricSpace:
    """A space by its name, a baseline's included (`spaces.baselines`); UnknownNameError offers the nearest."""
    if name in _OWN:
        return _OWN[name]
    if name in BASELINES:
        return BASELINES[name].space(**settings)
    if name not in SPACE_TYPES:
        raise UnknownNameError.of("space", name, SPACE_TYPES)
    return SPACE_TYPES[name](**settings)


_OWN: dict[str, ParametricSpace] = {}


@contextmanager
def known_here(space: ParametricSpace | None) -> Iterator[None]:
    """In this process, and as long as it lasts, `make_space` knows a space of the user's by its name."""
    if space is None:
        yield
        return
    _OWN[space.name] = space
    try:
        yield
    finally:
        del _OWN[space.name]
