"""The forward pass of a loss as an ONNX model."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cse_autoloss.errors import MissingExtraError, not_written
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses import GraphLoss
from cse_autoloss.spaces import form_of


def write_onnx(
    graph: LossGraph,
    path: Path,
    *,
    alpha: float | None = None,
    reduction: str = "none",
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write the loss as an ONNX model with any number of samples.

    Inputs of a classification loss: `logits` (N, C), `target` (N,) int64 and, where the loss reads it, `iou`
    (N,); the number of columns is free too. Inputs of a box loss: `pred_boxes` and `target_boxes`, (N, 4). Inputs of
    a user's: those that the loss reads, (N,) or (N, C).
    The output is `loss`.

    Args:
        graph: the loss.
        path: file to write.
        alpha: class weighting of a binary loss.
        reduction: "none" (the default), "mean" or "sum".
        provenance: where it comes from, each fact an entry of the model's `metadata_props`.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        AutoLossError: the file can't be written.
    """
    if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        raise MissingExtraError.of("ONNX export", "dev")
    loss = GraphLoss(graph, reduction, alpha).eval()
    sizes = {axis: torch.export.Dim(axis, min=2) for axis in ("N", "C")}
    example = form_of(graph.signature).example(graph.variables)
    shapes = [{place: sizes[axis] for place, axis in axes.items()} for _, axes in example.values()]
    module: nn.Module = _Positional(loss, tuple(example))
    # The exporter prints its progress and warns of its own parts; neither says anything of the loss.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(tensor for tensor, _ in example.values()),
            input_names=list(example),
            output_names=["loss"],
            dynamic_shapes=(tuple(shapes),),
            custom_translation_table=_stable(),
            dynamo=True,
            verbose=False,
            optimize=False,  # it drops ε of a division, as if q + 1e-20 were q: 0/0 where q is 0
        )
    try:
        path.write_bytes(_bytes_of(program, provenance or {}))
    except (OSError, ValueError) as error:
        raise not_written(path, error) from None
    return path


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Nothing less than an error is logged under that name."""
    loggers = [logging.getLogger(n) for n in (name, f"{name}._internal.exporter._registration")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Positional(nn.Module):
    """Called with the tensors alone; the loss knows them by name."""

    def __init__(self, loss: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.loss, self.names = loss, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.loss(**dict(zip(self.names, inputs, strict=True)))


def _stable() -> dict[Any, Callable[..., Any]]:
    """How log σ is written: torch's Log(Sigmoid(x)) is −∞ from x = −18 on where a runtime's Sigmoid gives 0."""
    from onnxscript import opset18

    def log_sigmoid(x: Any) -> Any:
        return opset18.Neg(opset18.Softplus(opset18.Neg(x)))

    return {torch.ops.aten.log_sigmoid.default: log_sigmoid}


def _bytes_of(program: torch.onnx.ONNXProgram | None, provenance: Mapping[str, Any]) -> bytes:
    """The model with its facts, without what the exporter notes of the machine: source files and stacks of calls."""
    assert program is not None
    model = program.model_proto
    for part in (model, model.graph, *model.functions, *_parts(model)):
        for field in ("metadata_props", "doc_string"):
            if hasattr(part, field):
                part.ClearField(field)
    for key, value in provenance.items():
        entry = model.metadata_props.add()
        entry.key = str(key)
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return model.SerializeToString()


def _parts(model: Any) -> Iterator[Any]:
    graph = model.graph
    for function in model.functions:
        yield from function.node
    for group in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        yield from group
