"""A loss for binary segmentation: the strokes of scikit-learn's digits, seen through noise.

python examples/segmentation.py [TRIALS]      writes pixel_loss.py
"""

import sys
from functools import partial

import torch
from sklearn.datasets import load_digits

import cse_autoloss as cal

PIXEL = cal.Signature(
    "pixel",
    inputs=[
        cal.Input("X", meaning="logit of a pixel"),
        cal.Input("Y", 0.0, 1.0, meaning="1 on a stroke, else 0"),
    ],
    walks=[
        cal.Walk("X", start=-12, end=12, at={"Y": 1.0}, may_rest=True),
        cal.Walk("X", start=12, end=-12, at={"Y": 0.0}, may_rest=True),
    ],
    default="Neg(Add(Mul(Y,Log(Sig(X))),Mul(Sub(1,Y),Log(Sub(1,Sig(X))))))",
)


def train(loss: torch.nn.Module, seed: int, held_out: int) -> float:
    """Dice of the strokes on a third of the digits: 0 to learn from, 1 validation, 2 test."""
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits), generator=random).split(599)
    noisy = digits + 0.7 * torch.randn(digits.shape, generator=random)
    masks = (digits > 0.5).float()
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3, padding=1)
    )
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for step in range(60):
        part = order[0][step % 6 * 99 : (step % 6 + 1) * 99]
        optimiser.zero_grad()
        loss(net(noisy[part]).flatten(), masks[part].flatten()).backward()
        optimiser.step()
    found = (net(noisy[order[held_out]]) > 0).float()
    true = masks[order[held_out]]
    return float(2 * (found * true).sum() / (found.sum() + true.sum()).clamp(min=1))


if __name__ == "__main__":
    with cal.Study(PIXEL, direction="maximize") as study:
        trials = int(sys.argv[1]) if len(sys.argv) > 1 else 120
        study.optimize(partial(train, seed=1, held_out=1), trials=trials, say=print)
        print(study.audit(partial(train, held_out=2), seeds=5))
        study.best.export("pixel_loss.py")
