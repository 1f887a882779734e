"""A plain PyTorch training loop that asks for losses and tells what came of them; two spirals, one net.

python examples/ask_tell.py [CANDIDATES]      writes spiral_loss.py
"""

import sys

import torch

import cse_autoloss as cal

CANDIDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 60


def spirals(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 2, (count,), generator=random)
    turn = 3.5 * torch.rand(count, generator=random) + 0.3
    angle = turn * 2 + target * torch.pi
    points = torch.stack((turn * angle.cos(), turn * angle.sin()), 1)
    return points + 0.15 * torch.randn(points.shape, generator=random), target


train_x, train_y = spirals(400, seed=0)
val_x, val_y = spirals(400, seed=1)

study = cal.Study("cls-multiclass", direction="maximize")
while len(study) < CANDIDATES:
    for candidate in study.ask(min(8, CANDIDATES - len(study))):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
        optimiser = torch.optim.Adam(net.parameters(), 0.03)
        loss = candidate.loss
        for _ in range(60):
            optimiser.zero_grad()
            value = loss(net(train_x), train_y)
            value.backward()
            optimiser.step()
        if not value.isfinite():
            candidate.fail("the loss is not finite")
            continue
        accuracy = (net(val_x).argmax(1) == val_y).float().mean()
        study.tell(candidate, float(accuracy))

best = study.best
print(f"best of {len(study)}: {best.value:.3f} on validation with {best.formula}")
best.export("spiral_loss.py")
study.close()
