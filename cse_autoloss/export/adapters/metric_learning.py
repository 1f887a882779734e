"""pytorch-metric-learning's call: `loss(embeddings, labels)`, with the classes' weights inside the loss."""

from __future__ import annotations

from typing import Any

from torch import nn

from cse_autoloss.errors import MissingExtraError
from cse_autoloss.export.adapters.elements import LossSource


def metric_learning_loss(
    loss: LossSource = "arcface", *, num_classes: int, embedding_size: int, scale: float = 30.0, **kwargs: Any
) -> nn.Module:
    """A loss of pytorch-metric-learning's kind; its parameter `W` (embedding_size, num_classes) needs an optimiser.

    The logits are cosines between embeddings and the columns of W. A margin loss takes them as they are, and brings
    its own scale; a cls-multiclass loss takes them times `scale`, with Z = 1.

    Args:
        loss: a margin loss or a cls-multiclass one: name, formula, loss.json, graph or module.
        num_classes: C.
        embedding_size: length of an embedding.
        scale: factor on the cosines for a cls-multiclass loss.
        kwargs: what the library's classification losses take: reducer, distance, weight_regularizer and so on.

    Raises:
        MissingExtraError: pytorch-metric-learning is not installed.
        AutoLossError: no such loss, or one of another signature.
    """
    try:
        import pytorch_metric_learning  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "the metric-learning adapter needs its library: pip install pytorch-metric-learning"
        ) from None
    from cse_autoloss.export.adapters.metric_learning_loss import AutoMetricLoss

    return AutoMetricLoss(loss, num_classes=num_classes, embedding_size=embedding_size, scale=scale, **kwargs)
