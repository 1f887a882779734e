"""Half precision: the model's alone; losses, weights and what a pause keeps are as ever."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from cse_autoloss.bench.session import Session
from cse_autoloss.classifiers import ModelStack, Sgd
from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.fields import Precision
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.training.loop import Schedule, TrainingRun, total_steps
from cse_autoloss.training.precision import in_precision

X = torch.linspace(-1, 1, 48).reshape(16, 3)
Y = X.sum(1)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 1)
        self.seen: set[torch.dtype] = set()

    def forward(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.inner(features)
        self.seen.add(hidden.dtype)
        return self.outer(hidden.tanh()).squeeze(-1), {"hidden": hidden}


def _run(precision: Precision, given: set[torch.dtype]) -> TrainingRun:
    model = _Net()
    learner = in_precision(model, precision)

    def batch_loss(index: Tensor, source: torch.Generator) -> Tensor:
        found, more = learner(X[index])
        given.update((found.dtype, more["hidden"].dtype))
        return (found - Y[index]).square().mean()

    return TrainingRun(model, 16, batch_loss, Schedule(4.0, 4, 0.1, precision=precision), seed=0)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_the_loss_is_given_float32(precision: Precision, dtype: torch.dtype) -> None:
    given: set[torch.dtype] = set()
    run = _run(precision, given)
    run.advance(run.steps)
    assert run.model.seen == {dtype}
    assert given == {torch.float32}
    assert {value.dtype for value in run.model.state_dict().values()} == {torch.float32}
    with torch.no_grad():
        found = in_precision(run.model, "float32")(X)[0]
    assert float((found - Y).square().mean()) < 0.5 * float(Y.square().mean())


def test_a_pause_changes_nothing_in_float16() -> None:
    whole, first, second = (_run("float16", set()) for _ in range(3))
    assert whole.steps == total_steps(16, Schedule(4.0, 4))
    whole.advance(whole.steps)
    first.advance(5)
    second.load_state(first.state())
    second.advance(second.steps)
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def _class_losses() -> dict[str, Any]:
    """Of logits and labels, from right to wrong; scaled ones learn too little in the time, or too wildly."""
    entropy, zero = nn.functional.cross_entropy, torch.zeros(())
    scaled = {
        f"{scale:g} times": partial(_scaled, scale) for scale in (8.0, 1.0, 0.1, 0.02, 0.005, 0.001, -0.02)
    }
    return scaled | {
        "squares": lambda x, y: (x.softmax(1) - nn.functional.one_hot(y, 10)).square().sum(1).mean(),
        "half of the classes": lambda x, y: entropy(x[y < 5], y[y < 5]) if bool((y < 5).any()) else zero,
        "neighbours": lambda x, y: entropy(x, (y + (y % 3 == 0)) % 10),
        "wrong": lambda x, y: entropy(x, (y + 1) % 10),
    }


def _scaled(scale: float, logits: Tensor, labels: Tensor) -> Tensor:
    return scale * nn.functional.cross_entropy(logits, labels)


def _accuracy(loss: Any, precision: Precision, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    x, y, test_x, test_y = data
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))
    learner = in_precision(model, precision)

    def batch_loss(index: Tensor, source: torch.Generator) -> Tensor:
        found: Tensor = loss(learner(x[index]), y[index])
        return found

    run = TrainingRun(model, len(x), batch_loss, Schedule(3.0, 16, 0.1, precision=precision), seed=0)
    run.advance(run.steps)
    with torch.no_grad():
        return float((in_precision(model, precision)(test_x).argmax(1) == test_y).float().mean())


def test_losses_keep_their_ranks_in_bfloat16() -> None:
    draw = torch.Generator().manual_seed(0)
    centres, y = torch.randn(10, 20, generator=draw), torch.arange(1200) % 10
    x = centres[y] + 1.2 * torch.randn(1200, 20, generator=draw)
    data = x[:600], y[:600], x[600:], y[600:]
    found = {
        precision: [_accuracy(loss, precision, data) for loss in _class_losses().values()]
        for precision in ("float32", "bfloat16")
    }
    assert len(set(found["float32"])) >= 8
    assert min(found["float32"]) < 0.1 < 0.7 < max(found["float32"])
    assert found["float32"] != found["bfloat16"]
    assert spearmanr(found["float32"], found["bfloat16"]).statistic >= 0.8


def test_side_by_side_keeps_its_losses_in_float32() -> None:
    models = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2)]

    class Pair(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            found = self.inner(images)
            return found, found

    stacks = [ModelStack([Pair(m) for m in models], Sgd(), precision=p) for p in ("float32", "bfloat16")]
    images, labels, space = torch.randn(8, 1, 2, 2), torch.arange(8) % 3, AmLfs(intervals=3)
    told = [stack.step(images, labels, space, torch.tensor([space.start] * 2), 0.1) for stack in stacks]
    assert told[1].dtype == torch.float32
    torch.testing.assert_close(told[0], told[1], rtol=0.02, atol=0.02)
    assert not torch.equal(told[0], told[1])


def test_it_is_part_of_a_training_s_key_and_float16_is_refused_side_by_side() -> None:
    sessions = [
        Session(load_config("classification", {"classification.precision": precision, "search": "random"}))
        for precision in ("float32", "bfloat16", "float16")
    ]
    assert len({one.digest for one in sessions}) == 3
    with pytest.raises(
        ConfigError, match="precision: trainings side by side take float32 or bfloat16, got float16"
    ):
        ClassificationTask(sessions[2].config.own).stack(2, None)
