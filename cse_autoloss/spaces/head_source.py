"""The exported code of classification losses: `forward(logits, target, iou=None, weight=None)`."""

from __future__ import annotations

from cse_autoloss.spaces.form import Written


def forward(written: Written, *, sigmoid: bool) -> list[str]:
    """The method's lines; of a softmax head, the last column is background and a sample has one value."""
    columns = "(N, C)" if sigmoid else "(N, C + 1)"
    last = "" if sigmoid else ", background last"
    read, named = written.read, written.names
    lines = [
        '"""Loss of a batch.',
        "",
        "Args:",
        f"    logits: {columns} or with axes behind{last}; half precision is computed in float32.",
        "    target: int64 class index of each sample, logits' shape without axis 1; C means background.",
        *(
            ["        So with one column 0 is its class and 1 is not: a 0/1 mask goes in as 1 - mask."]
            if sigmoid
            else []
        ),
        "    iou: of each positive's box with its object, likewise, without gradient; None means 1."
        + ("" if read & {"Q", "Z"} else " Not read."),
        "    weight: factor of each sample, likewise.",
        "",
        "Returns:",
        f'    One value a {"logit" if sigmoid else "sample"} for reduction "none", else a scalar;'
        + (" the mean is over all logits." if sigmoid else " the mean is over samples."),
        "",
        "Raises:",
        "    ValueError: a shape or type that is none of these.",
        '"""',
        "shape = _checked(logits, target, iou, weight)",
        "logits, target, iou, weight = _rows(_at_least_float32(logits), target, iou, weight)",
        "kept = target != self.ignore_index",
        "if not _all(kept):",
        "    logits = torch.where(kept.unsqueeze(-1), logits, 0.0)",
    ]
    one_hot = "positive" if sigmoid else "one_hot"
    if written.alpha or read & {"PY", "NY", "Q"} or one_hot in named:
        lines += [
            "classes = torch.arange(logits.shape[-1], device=logits.device)",
            f"{one_hot} = (target.unsqueeze(-1) == classes).to(logits.dtype)",
        ]
    if written.alpha or "NY" in read:
        lines.append("negative = 1 - positive")
    if "Q" in read:
        lines += [
            "quality = positive",
            "if iou is not None:",
            "    quality = torch.where(positive > 0, iou.detach().to(logits.dtype).unsqueeze(-1), 0.0)",
        ]
    if "label" in named:
        lines.append("label = torch.where(kept, target, 0).unsqueeze(-1)")
    if "Z" in read:
        lines += [
            "quality = torch.ones_like(logits[:, :1])",
            "if iou is not None:",
            "    is_object = (target >= 0) & (target < logits.shape[-1] - 1)",
            "    quality = torch.where(is_object, iou.detach().to(logits.dtype), 1.0).unsqueeze(-1)",
        ]
    if "T" in read:
        lines.append("progress = self.progress")
    if "F" in read:
        lines.append("frequency = _of_columns(self.frequency, logits)")
    lines += ["", *written.steps("logits" if sigmoid else "logits[:, :1]")]
    if written.alpha:
        lines.append("loss = loss * (self.alpha * positive + (1 - self.alpha) * negative)")
    if not sigmoid:
        lines.append("loss = loss.squeeze(-1)")
    rows = ".unsqueeze(-1)" if sigmoid else ""
    shaped = "reshape(*shape, logits.shape[1]).movedim(-1, 1)" if sigmoid else "reshape(shape)"
    lines += ["", 'if self.reduction == "none":']
    lines += [
        f"    loss = torch.where(kept{rows}, loss, 0.0)",
        f"    loss = loss if weight is None else loss * weight{rows}",
        f"    return loss.{shaped}",
        f"loss = torch.where(kept, loss{'.sum(-1)' if sigmoid else ''}, 0.0)",
        "total = loss.sum() if weight is None else (loss * weight).sum()",
        'if self.reduction == "sum":',
        "    return total",
        f"return total / (kept.sum().clamp(min=1){' * logits.shape[-1]' if sigmoid else ''})",
    ]
    return [
        "def forward(",
        "    self, logits: Tensor, target: Tensor, iou: Tensor | None = None, weight: Tensor | None = None",
        ") -> Tensor:",
        *(f"    {line}" for line in lines),
    ]


ROWS = """

def _checked(logits: Tensor, target: Tensor, iou: Tensor | None, weight: Tensor | None) -> torch.Size:
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ValueError(f"logits must be float (N, C, ...), got {tuple(logits.shape)} {logits.dtype}")
    shape = logits.shape[:1] + logits.shape[2:]
    for name, given in {"target": target, "iou": iou, "weight": weight}.items():
        if given is not None and given.shape != shape:
            wanted = f"{tuple(shape)}, the shape of logits without axis 1"
            raise ValueError(f"{name} must be {wanted}, got {tuple(given.shape)}")
    if target.dtype != torch.int64:
        raise ValueError(f"target must be int64 class indices, no mask or shares, got {target.dtype}")
    return shape


def _rows(logits: Tensor, *others: Tensor | None) -> tuple[Tensor, ...]:
    if logits.dim() == 2:
        return logits, *others
    return logits.movedim(1, -1).flatten(0, -2), *(x if x is None else x.flatten() for x in others)


def _all(kept: Tensor) -> bool:
    # Where all samples are known to count, the logits need no copy.
    if kept.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    try:
        return bool(kept.all())
    except RuntimeError:  # under torch.func.vmap there is no one answer
        return False"""
"""Functions of the exported code: shapes are checked, axes behind the classes become samples, and where no sample is
ignored, the logits need no copy without them."""

OF_COLUMNS = """

def _of_columns(frequency: Tensor, logits: Tensor) -> Tensor:
    columns = logits.shape[-1]
    frequency = frequency.to(logits)
    if frequency.dim() and len(frequency) == columns - 1:  # the background's is 1
        frequency = torch.cat((frequency, frequency.new_ones(1)))
    if frequency.dim() and len(frequency) != columns:
        raise ValueError(f"frequency has {len(frequency)} numbers, and logits have {columns} columns")
    return frequency.expand_as(logits)"""
"""A function of the exported code of losses that read the classes' frequencies."""
