"""Models trained together are as those trained one after another, each with its own loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cse_autoloss.classifiers import MODELS, ModelStack, Sgd, make_classifier
from cse_autoloss.classifiers.branches import of_all_heads
from cse_autoloss.classifiers.seeds import derived_seed, generator
from cse_autoloss.errors import UnknownNameError
from cse_autoloss.spaces.am_lfs import AmLfs

SHAPES = {
    "mlp": (1, 8, 8),
    "small": (1, 12, 12),
    "face": (1, 12, 9),
    "resnet20": (3, 8, 8),
    "mgn": (1, 12, 9),
}
SPACE = AmLfs(intervals=3, scale=10.0)


def _models(name: str, copies: int, scale: float | None = 10.0) -> list[nn.Module]:
    models = []
    for seed in range(copies):
        torch.manual_seed(seed)
        models.append(make_classifier(name, SHAPES[name], 4, scale))
    return models


def _batches(name: str, steps: int = 4) -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(5)
    labels = [torch.randint(4, (16,), generator=source) for _ in range(steps)]
    return [(torch.randn(16, *SHAPES[name], generator=source) + y[:, None, None, None], y) for y in labels]


def _theta(copies: int) -> Tensor:
    start = torch.tensor(SPACE.start)
    return start + 0.2 * torch.randn(copies, len(start), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("name", MODELS)
def test_together_is_one_after_another(name: str) -> None:
    theta, rates = _theta(3), torch.tensor([0.05, 0.02, 0.05])
    models = _models(name, 3)
    stack = ModelStack(models, Sgd(0.9, 1e-3))
    together = [stack.step(x, y, SPACE, theta, rates) for x, y in _batches(name)]
    images = _batches(name)[0][0]
    embeddings, logits = stack.predict(images, chunk=5)
    for index, model in enumerate(models):
        model.train()
        adept = torch.optim.SGD(model.parameters(), float(rates[index]), momentum=0.9, weight_decay=1e-3)
        for step, (x, y) in enumerate(_batches(name)):
            embedding, logits_of_heads = model(x)
            loss = SPACE.loss(logits_of_heads, of_all_heads(model, y), theta[index]).mean()
            if hasattr(model, "beside"):
                loss = loss + model.beside(embedding, y)
            torch.testing.assert_close(together[step][index], loss.detach(), rtol=2e-3, atol=2e-4)
            adept.zero_grad()
            loss.backward()
            adept.step()
        expected = model.state_dict()
        for key, value in stack.weights(index).items():
            torch.testing.assert_close(
                value, expected[key], rtol=5e-3, atol=5e-4, msg=lambda m, k=key: f"{k}: {m}"
            )
        with torch.no_grad():
            embedding, own = model.eval()(images)
            torch.testing.assert_close(logits[index], own, rtol=5e-3, atol=5e-3)
            torch.testing.assert_close(embeddings[index], embedding, rtol=5e-3, atol=5e-3)
            model.load_state_dict(stack.weights(index))
            torch.testing.assert_close(model(images)[1], logits[index], rtol=5e-3, atol=5e-3)


def test_each_model_may_have_batches_of_its_own() -> None:
    theta = _theta(2)
    (x1, y1), (x2, y2) = _batches("mlp", 2)
    own = ModelStack(_models("mlp", 2))
    losses = own.step(torch.stack((x1, x2)), torch.stack((y1, y2)), SPACE, theta, 0.1)
    for index, (x, y) in enumerate(((x1, y1), (x2, y2))):
        other = ModelStack(_models("mlp", 2))
        torch.testing.assert_close(other.step(x, y, SPACE, theta, 0.1)[index], losses[index])
        torch.testing.assert_close(other.weights(index), own.weights(index))


def test_a_model_that_diverges_harms_itself_alone() -> None:
    theta = _theta(3)
    alone, beside = ModelStack(_models("mlp", 3)), ModelStack(_models("mlp", 3))
    for x, y in _batches("mlp", 6):
        alone.step(x, y, SPACE, theta, 0.05)
        beside.step(x, y, SPACE, theta, torch.tensor([0.05, 1e30, 0.05]))
    assert beside.failed.tolist() == [False, True, False]
    assert not alone.failed.any()
    for index in (0, 2):
        torch.testing.assert_close(beside.weights(index), alone.weights(index))


def test_the_best_is_copied_to_all_with_its_momentum() -> None:
    theta = _theta(3)
    stack = ModelStack(_models("small", 3))
    batches = _batches("small", 3)
    stack.step(*batches[0], SPACE, theta, 0.05)
    stack.spread(1)
    for index in (0, 2):
        torch.testing.assert_close(stack.weights(index), stack.weights(1))
    losses = stack.step(*batches[1], SPACE, theta[1].expand(3, -1), 0.05)
    stack.step(*batches[2], SPACE, theta[1].expand(3, -1), 0.05)
    assert losses.unique().numel() == 1
    torch.testing.assert_close(stack.weights(0), stack.weights(2))


def test_a_stack_goes_on_from_its_state(tmp_path: object) -> None:
    theta = _theta(2)
    batches = _batches("resnet20", 3)
    whole, first, second = (ModelStack(_models("resnet20", 2)) for _ in range(3))
    for x, y in batches:
        whole.step(x, y, SPACE, theta, 0.05)
    first.step(*batches[0], SPACE, theta, 0.05)
    path = f"{tmp_path}/state.pt"
    torch.save(first.state(), path)
    second.load_state(torch.load(path, weights_only=True))
    for x, y in batches[1:]:
        second.step(x, y, SPACE, theta, 0.05)
    for index in range(2):
        for name, value in whole.weights(index).items():
            assert torch.equal(second.weights(index)[name], value)


def test_resnet20_has_the_papers_size() -> None:
    count = sum(p.numel() for p in make_classifier("resnet20", (3, 32, 32), 10).parameters())
    assert count == 269_722  # 0.27 million


def test_an_unknown_model() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet20'"):
        make_classifier("resnet-20", (3, 32, 32), 10)


def test_seeds_are_by_name() -> None:
    assert derived_seed("a", 1) == derived_seed("a", 1)
    assert (
        len({derived_seed("a", i) for i in range(1000)} | {derived_seed("b", i) for i in range(1000)}) == 2000
    )
    assert torch.equal(torch.rand(3, generator=generator("x", 2)), torch.rand(3, generator=generator("x", 2)))
