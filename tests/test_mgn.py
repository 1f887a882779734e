"""The net after MGN: eight heads with the searched loss, a triplet loss beside, and how both are trained."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.classifiers.branches import of_all_heads, together
from cse_autoloss.classifiers.mgn import MgnNet
from cse_autoloss.classifiers.triplet import batch_hard_triplet
from cse_autoloss.errors import ConfigError
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.registry import section_of
from cse_autoloss.tasks.reid import ReidTask

SHAPE = (1, 24, 16)


def net(classes: int = 5, scale: float | None = 10.0) -> MgnNet:
    torch.manual_seed(0)
    return MgnNet(SHAPE, classes, scale)


def images(count: int = 12) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def slow_triplet(features: Tensor, labels: list[int], margin: float) -> float:
    """Anchor by anchor, over all triplets."""
    own = features / features.norm(dim=1, keepdim=True)
    found = []
    for anchor, label in enumerate(labels):
        others = [i for i in range(len(labels)) if i != anchor]
        away = {i: float((own[anchor] - own[i]).norm()) for i in others}
        positives = [away[i] for i in others if labels[i] == label]
        negatives = [away[i] for i in others if labels[i] != label]
        if positives and negatives:
            found.append(max(0.0, margin + max(positives) - min(negatives)))
    return sum(found) / len(found) if found else 0.0


def test_the_triplet_loss_is_that_of_the_hardest_partners() -> None:
    features = torch.randn(9, 6, generator=torch.Generator().manual_seed(3))
    labels = [0, 0, 0, 1, 1, 2, 3, 3, 3]  # the one of class 2 is no anchor
    for margin in (0.0, 0.3, 1.0):
        found = batch_hard_triplet(features, torch.tensor(labels), margin)
        assert float(found) == pytest.approx(slow_triplet(features, labels, margin), abs=1e-4)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [4, 4, 4, 4], [7]])
def test_without_an_anchor_the_triplet_loss_is_nothing(labels: list[int]) -> None:
    features = torch.randn(len(labels), 6, requires_grad=True)
    found = batch_hard_triplet(features, torch.tensor(labels))
    found.backward()
    assert float(found.detach()) == 0.0
    assert features.grad is not None
    assert not features.grad.any()


def test_two_equal_images_have_a_finite_slope() -> None:
    features = torch.ones(4, 6)
    features[2:] = torch.randn(2, 6)
    features.requires_grad_()
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_shapes() -> None:
    model, x = net(), images()
    embedding, logits = model.train()(x)
    assert (tuple(embedding.shape), tuple(logits.shape), model.heads) == ((12, 256), (96, 5), 8)
    with torch.no_grad():
        same, mean = model.eval()(x)
    torch.testing.assert_close(same, embedding.detach())
    torch.testing.assert_close(mean, logits.detach().view(8, 12, 5).mean(0))
    assert 50_000 < sum(p.numel() for p in model.parameters()) < 100_000


def test_a_stripe_sees_its_rows_alone() -> None:
    """With nothing but pooling left of the net, a light in the lowest row is in wholes and lowest stripes."""
    model = net().eval()
    assert [branch[0].stride for branch in model.branches] == [(2, 2), (1, 1), (1, 1)]
    model.stem = nn.Identity()
    for layers in (model.branches, model.reduce, model.classify):
        for place in range(len(layers)):
            layers[place] = nn.Identity()
    seen = torch.zeros(1, 1, 6, 4)
    seen[..., -1, 2] = 1.0
    #        whole | whole, 2 stripes | whole, 3 stripes
    assert model(seen)[0].tolist() == [[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]]


def test_each_head_has_the_loss_and_a_gradient() -> None:
    """Of eight heads the mean: taking a head's gradient alone gives an eighth of its own loss's."""
    model, x, y = net().train(), images(), torch.arange(12) % 5
    space = AmLfs(3)
    theta = torch.tensor(space.start) + 0.1
    logits = model(x)[1]
    whole = space.loss(logits, of_all_heads(model, y), theta).mean()
    own = torch.stack([space.loss(one, y, theta).mean() for one in logits.chunk(8)])
    torch.testing.assert_close(whole, own.mean())
    for head, alone in zip(model.classify, own, strict=True):
        (gradient,) = torch.autograd.grad(whole, head.weight, retain_graph=True)
        (expected,) = torch.autograd.grad(alone, head.weight, retain_graph=True)
        assert bool(gradient.any())
        torch.testing.assert_close(gradient, expected / 8)
    for branch in model.branches:
        (gradient,) = torch.autograd.grad(whole, branch[0].weight, retain_graph=True)
        assert bool(gradient.any())


def test_the_triplet_loss_moves_what_sees_the_whole_image_alone() -> None:
    model, x, y = net().train(), images(), torch.arange(12) % 3
    beside = model.beside(model(x)[0], y)
    gradients = torch.autograd.grad(beside, [layer.weight for layer in model.reduce], allow_unused=True)
    moved = [place for place, one in enumerate(gradients) if one is not None and bool(one.any())]
    assert moved == [0, 1, 4]
    assert float(beside.detach()) > 0


def test_a_step_of_a_stack_takes_both_losses() -> None:
    x, y, space = images(), torch.arange(12) % 5, AmLfs(3)
    model = net().train()
    embedding, logits = model(x)
    expected = cross_entropy(logits, of_all_heads(model, y)) + model.beside(embedding, y)
    stack = ModelStack([net(), net()])
    first = stack.step(x, y, space, torch.tensor([space.start] * 2), 0.05)
    torch.testing.assert_close(first, expected.detach().expand(2), rtol=1e-4, atol=1e-5)
    own = ModelStack([net(), net()]).step(
        torch.stack([x, x]), torch.stack([y, y]), space, torch.tensor([space.start] * 2), 0.05
    )
    torch.testing.assert_close(own, first, rtol=1e-4, atol=1e-5)


def test_images_of_a_class_stand_together() -> None:
    labels = torch.tensor([0] * 10 + [1] * 4 + [2] * 7)
    order = together(labels, 4, torch.Generator().manual_seed(2))
    assert sorted(order.tolist()) == list(range(21))
    runs, last = [1], labels[order].tolist()
    for one, other in pairwise(last):
        if one == other:
            runs[-1] += 1
        else:
            runs.append(1)
    assert len(runs) <= 6  # 4 + 4 + 2, 4, 4 + 3, where they do not meet
    again = together(labels, 4, torch.Generator().manual_seed(2))
    assert torch.equal(order, again)
    assert not torch.equal(order, together(labels, 4, torch.Generator().manual_seed(3)))


def test_images_that_are_too_low_are_told_before_any_training() -> None:
    config = load_config("classification", {"own.model": "mgn"}, section_of)
    from cse_autoloss.tasks.classification import ClassificationTask

    task = ClassificationTask(config.own)
    with pytest.raises(ConfigError, match=r"^model: mgn needs images of at least 9 pixels in height, got 8$"):
        task.check()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two dozen people as three bands of grey, by three cameras; a photograph has noise and a brightness of its own."""
    source = np.random.default_rng(0)
    looks = source.integers(60, 196, (24, 3))
    for folder, known, cameras in (
        ("bounding_box_train", range(16), (1, 2, 3)), ("query", range(16, 24), (1,)),
        ("bounding_box_test", range(16, 24), (2, 3)),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        for person in known:
            for camera in cameras:
                for number in range(1 if folder == "query" else 4):
                    bands = np.repeat(looks[person], 8)[:, None] + source.normal(0, 40, (24, 12))
                    bands += source.uniform(-100, 100)
                    pixels = np.clip(bands, 0, 255).astype(np.uint8)
                    name = f"{person + 1:04d}_c{camera}s1_{number:06d}_00.png"
                    Image.fromarray(np.repeat(pixels[..., None], 3, -1)).save(tmp_path / folder / name)
    return tmp_path


def test_people_are_found_again(people: Path) -> None:
    """Trained on twelve people, eight others are found better than by the untrained net, and far above chance."""
    own = ReidTask.Settings(
        data=f"market:{people}", image_size=12, model="mgn", batch=24, val_share=0.25, lr=0.05
    )
    task = ReidTask(own)
    loss = load_loss("cross-entropy", reduction="sum")
    before = task.score(task.model(0), "test", None)
    schedule = Schedule(epochs=20)
    found = task.train({"loss": loss}, seed=0, schedule=schedule, settings={}, split="test")
    assert found.status == "ok"
    assert found.metrics["map"] > before["map"] + 0.15
    assert found.metrics["rank1"] > 2 / 8

    stack, space = task.stack(2, own.cosine_scale), AmLfs(3)
    theta = torch.tensor([space.start] * 2)
    losses = [task.train_epoch(stack, space, theta, epoch) for epoch in range(3)]
    assert all(bool(one.isfinite().all()) for one in losses)
    assert float(losses[-1].mean()) < float(losses[0].mean())
    assert all(math.isfinite(value) for one in task.scores(stack, "val") for value in one.values())
