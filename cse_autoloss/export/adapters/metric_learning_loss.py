"""The class behind `metric_learning_loss`; importing this module needs pytorch-metric-learning."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import CosineSimilarity  # type: ignore[import-not-found, unused-ignore]
from pytorch_metric_learning.losses import (  # type: ignore[import-not-found, unused-ignore]
    BaseMetricLossFunction,
)
from pytorch_metric_learning.losses.mixins import (  # type: ignore[import-not-found, unused-ignore]
    WeightRegularizerMixin,
)
from pytorch_metric_learning.utils import (  # type: ignore[import-not-found, unused-ignore]
    common_functions,
    loss_and_miner_utils,
)
from torch import Tensor, nn

from cse_autoloss.export.adapters.elements import LossSource, elements_of, signature_name
from cse_autoloss.spaces.form import widened


class AutoMetricLoss(WeightRegularizerMixin, BaseMetricLossFunction):
    """A loss on cosines between embeddings and class weights; see `metric_learning_loss`."""

    def __init__(
        self, loss: LossSource, *, num_classes: int, embedding_size: int, scale: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        common_functions.assert_distance_type(self, CosineSimilarity)
        self.loss = elements_of(loss, "margin", "cls-multiclass")
        self.scale = 1.0 if signature_name(self.loss) == "margin" else scale
        self.num_classes = num_classes
        self.W = nn.Parameter(torch.empty(embedding_size, num_classes))
        self.weight_init_func(self.W)

    def get_default_distance(self) -> Any:
        """Cosine similarity, the only distance that fits."""
        return CosineSimilarity()

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(N, C) cosines times the scale, without margin: what to classify by."""
        scale = getattr(self.loss, "scale", self.scale)
        return self._cosine(embeddings) * scale

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any, ref_emb: Any, ref_labels: Any
    ) -> dict[str, Any]:
        """One value for each embedding, for the library's reducers."""
        common_functions.labels_required(labels)
        common_functions.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
        values = self.loss(self._cosine(embeddings) * self.scale, labels)
        weights = loss_and_miner_utils.convert_to_weights(indices_tuple, labels, dtype=values.dtype)
        found = {
            "loss": {
                "losses": values * weights,
                "indices": common_functions.torch_arange_from_size(embeddings),
                "reduction_type": "element",
            }
        }
        self.add_weight_regularization_to_loss_dict(found, self.W.t())
        return found

    def _cosine(self, embeddings: Tensor) -> Tensor:
        weights = common_functions.to_device(self.W, embeddings, dtype=embeddings.dtype)
        return widened(self.distance(embeddings, weights.t()))
