"""pytorch-metric-learning's call, against the library's own losses where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.export.adapters.metric_learning import metric_learning_loss

INSTALLED = importlib.util.find_spec("pytorch_metric_learning") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="pytorch-metric-learning is not installed")


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(12, 6, requires_grad=True), torch.arange(12) % 4


@needs_library
@pytest.mark.parametrize("name", ["cosface", "arcface"])
def test_equals_the_library(name: str) -> None:
    from pytorch_metric_learning import losses

    theirs: Any = {
        "cosface": lambda: losses.CosFaceLoss(num_classes=4, embedding_size=6, margin=0.35, scale=64),
        "arcface": lambda: losses.ArcFaceLoss(
            num_classes=4, embedding_size=6, margin=28.6478897565, scale=64
        ),
    }[name]()
    ours = metric_learning_loss(name, num_classes=4, embedding_size=6)
    assert [tuple(p.shape) for p in ours.parameters()] == [(6, 4)]
    with torch.no_grad():
        # Embeddings near their class: away from the fold, where the two continue the margin differently.
        ours.W.copy_(theirs.W)
    points, labels = embeddings()
    near = (points.detach() * 0.3 + theirs.W.detach().t()[labels]).requires_grad_()
    got, expected = ours(near, labels), theirs(near, labels)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(got, near)[0], torch.autograd.grad(expected, near)[0], rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(ours.get_logits(near), theirs.get_logits(near))


@needs_library
def test_a_graph_loss_trains_its_weights() -> None:
    loss = metric_learning_loss("softmax-focal", num_classes=4, embedding_size=6, scale=16.0)
    points, labels = embeddings()
    optimiser = torch.optim.Adam(loss.parameters(), 0.05)
    history = []
    for _ in range(30):
        value = loss(points.detach(), labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        history.append(float(value.detach()))
    assert history[-1] < 0.5 * history[0]


@needs_library
def test_reducers_and_regularizers_of_the_library_fit() -> None:
    from pytorch_metric_learning import reducers, regularizers

    points, labels = embeddings()
    rows = metric_learning_loss(
        "cosface", num_classes=4, embedding_size=6, reducer=reducers.DoNothingReducer()
    )
    assert rows(points, labels)["loss"]["losses"].shape == (12,)
    heavy = metric_learning_loss(
        "cosface", num_classes=4, embedding_size=6, weight_regularizer=regularizers.LpRegularizer()
    )
    assert heavy(points, labels).isfinite()


@needs_library
def test_other_branches_are_refused() -> None:
    with pytest.raises(AutoLossError, match="expected a loss of margin or cls-multiclass"):
        metric_learning_loss("bce", num_classes=4, embedding_size=6)


@pytest.mark.skipif(INSTALLED, reason="pytorch-metric-learning is installed")
def test_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match="pip install pytorch-metric-learning"):
        metric_learning_loss("arcface", num_classes=4, embedding_size=6)
