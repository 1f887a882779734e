"""What a classification loss takes beside class indices: masks, soft targets, samples to ignore, class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from cse_autoloss.errors import ConfigError, DataError, UnknownNameError
from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.checks import Targets, may_look

IGNORED = -100
"""The `ignore_index` of torch, of `load_loss` and of exported files, unless another is given."""


@dataclass(frozen=True)
class Taking:
    """How targets are read and samples counted.

    Attributes:
        targets: "index": a class index a sample. "mask", of cls-binary: 0 or 1 for each logit, 1 where its class is
            there. "soft": shares in [0, 1] for each logit, PY of cls-binary, with NY = 1 − PY, or Y of cls-multiclass.
        ignore_index: value of targets that give 0 and no gradient and do not count in a mean; None for no such.
        weight: factor of each class (column), of the samples that are of it (cls-multiclass) or of its logits
            (cls-binary); None for 1.
    """

    targets: Targets = "index"
    ignore_index: int | None = None
    weight: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls,
        signature: Signature,
        targets: Targets = "index",
        ignore_index: int | None = None,
        weight: Tensor | Sequence[float] | None = None,
    ) -> Taking:
        """Checked for losses of that signature; ConfigError for what they can't use."""
        if targets not in get_args(Targets):
            raise UnknownNameError.of("targets", str(targets), get_args(Targets))
        head = form_of(signature).head
        if head is None and (targets, ignore_index, weight) != ("index", None, None):
            raise ConfigError(
                "targets, ignore_index and weight are of cls-binary and cls-multiclass losses; "
                f"a {signature.name} loss takes none"
            )
        if targets == "mask" and head == "softmax":
            raise ConfigError(
                'targets="mask" is of cls-binary losses; of several classes one is right: "index"'
            )
        if ignore_index is not None and (not isinstance(ignore_index, int) or isinstance(ignore_index, bool)):
            raise ConfigError(f"ignore_index must be a whole number or None, got {ignore_index!r}")
        if ignore_index is not None and targets == "soft":
            raise ConfigError(
                'ignore_index is of targets="index" or "mask"; soft targets have none, as in torch'
            )
        if weight is None:
            return cls(targets, ignore_index)
        if head == "softmax" and targets == "soft":
            raise ConfigError(
                "weight is of samples with one class each; soft targets of softmax heads take none"
            )
        try:
            factors = torch.as_tensor(weight, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            factors = torch.tensor(math.nan)
        if factors.dim() != 1 or not all(0 <= one < math.inf for one in factors.tolist()):
            raise ConfigError("weight must be (C,) numbers of at least 0, one a column of logits")
        return cls(targets, ignore_index, tuple(factors.tolist()))

    @property
    def read(self) -> dict[str, Any]:
        """What `Form.check` is told of the targets."""
        told = {"targets": self.targets, "ignore_index": self.ignore_index}
        return {} if self.targets == "index" and self.ignore_index is None else told

    def counts_all(self, target: Tensor | None) -> bool:
        """Whether all elements count alike, so that a plain reduction is right: told where a look is cheap."""
        if self.weight is not None:
            return False
        if self.ignore_index is None or target is None:
            return True
        return may_look(target) and not bool((target == self.ignore_index).any())

    def kept(self, logits: Tensor, target: Tensor, iou: Tensor | None) -> tuple[Any, ...]:
        """Logits, target and iou with harmless numbers where the target is ignored; and where it is not."""
        if self.ignore_index is None:
            return logits, target, iou, None
        kept = target != self.ignore_index
        if kept.dim() == 1:  # a logit by itself may still stand in another's Softmax
            logits = torch.where(kept.unsqueeze(-1), logits, torch.zeros_like(logits))
        target = torch.where(kept, target, torch.zeros_like(target))
        return logits, target, None if iou is None else torch.where(kept, iou, torch.ones_like(iou)), kept

    def factor(self, logits: Tensor, target: Tensor, *, per_sample: bool) -> Tensor | None:
        """The weight of each sample, (M,), or of each column, (C,); DataError where there are other columns."""
        if self.weight is None:
            return None
        if len(self.weight) != logits.shape[1]:
            raise DataError(
                f"weight has {len(self.weight)} numbers, and logits have {logits.shape[1]} columns"
            )
        factors = logits.new_tensor(self.weight)
        return factors[target] if per_sample else factors

    def __str__(self) -> str:
        plain = Taking()
        return "".join(
            f", {name}={value!r}" for name, value in vars(self).items() if value != getattr(plain, name)
        )
