"""Weights from a file: a detector's, of ours or as torchvision and torch.save write them, or a backbone's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cse_autoloss.errors import RunError
from cse_autoloss.fullsize.checkpoint import check_fits, is_checkpoint, read_tensors

_BY_CLASS = (
    "head.classification_head.cls_logits.",
    "roi_heads.box_predictor.",
    "roi_heads.mask_predictor.mask_fcn_logits.",
)
"""Begin the names of what depends on the number of classes."""
_COUNTER = "num_batches_tracked"
"""A batch norm's counter, which a frozen one lacks; it changes nothing."""


def load_weights(
    network: nn.Module, path: Path, *, detector: str, classes: list[str], new_head: bool = False
) -> str:
    """Put the file's weights into the network, all or none.

    Args:
        network: torchvision's detector; its backbone is `network.backbone.body`.
        path: a checkpoint of ours, a state_dict, or {"model": state_dict}; of the detector, or of a backbone as
            torchvision's classifiers have it.
        detector: what the network is, for messages.
        classes: names of the data's classes.
        new_head: leave out what depends on the number of classes.

    Returns:
        In words, what was loaded.

    Raises:
        RunError: in one line, why they do not fit. Nothing in the file is run.
    """
    state = read_tensors(path)
    if is_checkpoint(state):
        check_fits(path, state, detector, None if new_head else classes)
        state = state["model"]
    found = _tensors(state, path)
    body = network.get_submodule("backbone.body")
    part, what = network, "detector"
    # A classifier has a backbone's names and a last layer that a detector does not.
    if found.keys() & body.state_dict().keys():
        part, what = body, "backbone"
        found = {name: value for name, value in found.items() if name in body.state_dict()}
    elif new_head:
        found = {name: value for name, value in found.items() if not _by_class(name)}
    wanted = {
        name: value
        for name, value in part.state_dict().items()
        if not name.endswith(_COUNTER) and not (new_head and what == "detector" and _by_class(name))
    }
    found = {name: value for name, value in found.items() if not name.endswith(_COUNTER)}
    _check(found, wanted, path, detector, len(classes))
    part.load_state_dict(found, strict=False)
    left = " but for what depends on the number of classes" if new_head and what == "detector" else ""
    return f"{len(found)} tensors of a {what}{left}"


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise RunError(f"{path}: holds no weights: expected a checkpoint, or tensors by their names")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _check(
    found: dict[str, Tensor], wanted: dict[str, Tensor], path: Path, detector: str, classes: int
) -> None:
    """RunError unless names and shapes agree."""
    wrong = [name for name in wanted if name not in found or found[name].shape != wanted[name].shape]
    extra = [name for name in found if name not in wanted]
    if not wrong and not extra:
        return
    if not extra and all(_by_class(name) and name in found for name in wrong):
        ratio = found[wrong[-1]].shape[0] / wanted[wrong[-1]].shape[0]
        rows = {name: found[name].shape[0] for name in wrong}
        shown = ", ".join(f"{name} has {rows[name]} rows, not {wanted[name].shape[0]}" for name in wrong[:1])
        raise RunError(
            f"{path}: weights for {'more' if ratio > 1 else 'fewer'} classes than the data's {classes} ({shown}); "
            "new_head: true keeps all but these"
        )
    name = (wrong or extra)[0]
    if name not in found:
        why = f"{name} is missing"
    elif name not in wanted:
        why = f"it has no {name}"
    else:
        why = f"{name} is {_shape(found[name])}, not {_shape(wanted[name])}"
    raise RunError(
        f"{path}: weights of another detector than {detector}: "
        f"{len(wanted) - len(wrong)} of {len(wanted)} tensors fit; {why}"
    )


def _by_class(name: str) -> bool:
    return name.startswith(_BY_CLASS)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
