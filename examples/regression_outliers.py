"""A loss for tabular regression whose training targets hold outliers: scikit-learn's diabetes data, 15 % spoilt.

python examples/regression_outliers.py [TRIALS]      writes residual_loss.py, which trains by itself
"""

import importlib.util
import sys
from functools import partial

import torch
from sklearn.datasets import load_diabetes

import cse_autoloss as cal

RESIDUAL = cal.Signature(
    "residual",
    inputs=[cal.Input("R", meaning="prediction - target, in deviations of the targets")],
    walks=[cal.Walk("R", start=-10, end=0), cal.Walk("R", start=10, end=0)],
    default="Mul(R,R)",
)
OPPONENTS = ["Abs(R)", "Log(Add(1,Mul(R,R)))", "Sub(Sqrt(Add(1,Mul(R,R))),1)"]


def split(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Train with outliers, clean validation and clean test, standardised."""
    x, y = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
    x, y = x / x.std(0), (y - y.mean()) / y.std()
    random = torch.Generator().manual_seed(seed)
    parts = torch.randperm(len(x), generator=random).split([242, 100, 100])
    found = [(x[part], y[part]) for part in parts]
    spoilt = torch.rand(242, generator=random) < 0.15
    found[0][1][spoilt] += 20 * torch.randn(int(spoilt.sum()), generator=random)
    return found


def train(loss: torch.nn.Module, seed: int, lr: float, held_out: int) -> float:
    """Mean absolute error on a part, in deviations."""
    parts = split(seed)
    torch.manual_seed(seed)
    model = torch.nn.Linear(parts[0][0].shape[1], 1)
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for _ in range(200):
        optimiser.zero_grad()
        loss(model(parts[0][0])[:, 0] - parts[0][1]).backward()
        optimiser.step()
    return float((model(parts[held_out][0])[:, 0] - parts[held_out][1]).detach().abs().mean())


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    validate, test = partial(train, held_out=1), partial(train, held_out=2)
    study = cal.Study(RESIDUAL, direction="minimize", seed=0)
    study.optimize(partial(validate, seed=1, lr=0.05), trials=trials, say=print)
    print(study.audit(test, validate=validate, against=OPPONENTS, ranges={"lr": (0.01, 0.1)}, tuning=6))
    study.best.export("residual_loss.py")
    spec = importlib.util.spec_from_file_location("residual_loss", "residual_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(f"residual_loss.py alone: {train(module.DiscoveredLoss(), 0, 0.05, 2):.3f} on test")
