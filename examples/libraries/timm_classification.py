"""A tiny network of timm's with a loss of yours, on handwritten digits: ten steps on a CPU, and ten with mixup.

pip install timm
python examples/libraries/timm_classification.py [LOSS [SIGNATURE]]      a name, a formula or best/loss.json of a run

SIGNATURE is cls-multiclass, or cls-binary for what timm's own training calls --bce-loss. A trained network is
create_model("resnet18", pretrained=True).
"""

import sys

import torch
from sklearn.datasets import load_digits
from timm import create_model
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from torch.nn.functional import interpolate

from cse_autoloss import AutoLossError, load_loss

CLASSES, BATCH = 10, 64


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (64, 1, 32, 32) of digits, brightness in [0, 1], and the digits (64,)."""
    digits = load_digits()
    images = torch.tensor(digits.images[:BATCH, None], dtype=torch.float32) / 16
    return interpolate(images, size=32), torch.tensor(digits.target[:BATCH])


def train(loss: torch.nn.Module, mixup: Mixup | None) -> None:
    torch.manual_seed(0)
    model = create_model("test_resnet", num_classes=CLASSES, in_chans=1)
    optimiser = create_optimizer_v2(model, opt="adamw", lr=3e-3)
    images, labels = batch()
    for step in range(10):
        # Mixup changes the images it is given.
        seen, target = (images, labels) if mixup is None else mixup(images.clone(), labels)
        value = loss(model(seen), target)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        print(f"step {step}: loss {value.item():.4f}")


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "softmax-focal"
    signature = sys.argv[2] if len(sys.argv) > 2 else "cls-multiclass"
    try:
        plain, soft = load_loss(name, signature), load_loss(name, signature, targets="soft")
    except AutoLossError as error:
        sys.exit(str(error))
    print("class indices")
    train(plain, None)
    print("mixup: shares of classes")
    train(soft, Mixup(mixup_alpha=0.8, label_smoothing=0.1, num_classes=CLASSES))
