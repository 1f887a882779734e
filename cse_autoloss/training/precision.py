"""Half precision: a model computes in it; its losses, the weights and the optimiser's sums stay in float32."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from cse_autoloss.settings.fields import Precision

DTYPES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class InPrecision(nn.Module):
    """A `model` that computes in half precision; what it gives is float32."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, images: Tensor) -> Any:
        with torch.autocast(images.device.type, self.dtype):
            found = self.model(images)
        return in_float32(found)


def in_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """The model with matrix products and convolutions of a precision (`torch.autocast`); what it gives is float32.

    Args:
        model: its weights stay as they are.
        precision: "float32" gives the model itself.
    """
    return model if precision == "float32" else InPrecision(model, DTYPES[precision])


def in_float32(found: Any) -> Any:
    """Tensors of half precision, in tuples, lists and dicts, as float32."""
    half = DTYPES.values()
    return tree_map(lambda one: one.float() if isinstance(one, Tensor) and one.dtype in half else one, found)


def quick_here(device: str) -> Precision:
    """The precision in which a short training is quickest there: bfloat16 where the processor or GPU has instructions
    for it, else float32.

    Args:
        device: "cpu" or "cuda", of this machine.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    own = any(
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return "bfloat16" if own else "float32"


def loss_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Keeps float16's small gradients from vanishing; of the other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")
