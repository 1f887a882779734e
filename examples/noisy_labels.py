"""A loss for labels of which four in ten are wrong: scikit-learn's digits, in processes of their own.

python examples/noisy_labels.py [TRIALS]      writes label_loss.py
"""

import sys

import torch
from sklearn.datasets import load_digits

import cse_autoloss as cal


def train(loss: torch.nn.Module, seed: int, held_out: int, trial: object = None) -> float:
    """Accuracy on a part: 1 validation, 2 test, both with their true labels."""
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=random).split([897, 400, 500])
    wrong = torch.rand(897, generator=random) < 0.4
    labels = torch.where(wrong, torch.randint(0, 10, (897,), generator=random), y[order[0]])
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)

    def accuracy() -> float:
        return float((net(x[order[held_out]]).argmax(1) == y[order[held_out]]).float().mean())

    for epoch in range(60):
        optimiser.zero_grad()
        loss(net(x[order[0]]), labels).backward()
        optimiser.step()
        if trial is not None and epoch % 20 == 19:
            trial.report(epoch, accuracy())
            if trial.should_stop:
                break
    return accuracy()


def fit(loss: torch.nn.Module, trial: object) -> float:
    return train(loss, seed=1, held_out=1, trial=trial)


def test(loss: torch.nn.Module, seed: int) -> float:
    return train(loss, seed, held_out=2)


if __name__ == "__main__":
    with cal.Study("cls-multiclass", direction="maximize") as study:
        study.optimize(
            fit, trials=int(sys.argv[1]) if len(sys.argv) > 1 else 200, workers=2, limit="60s", say=print
        )
        print(study.audit(test, against=["softmax-focal", "softmax-poly-1"], seeds=5))
        study.best.export("label_loss.py")
