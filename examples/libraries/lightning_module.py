"""A LightningModule with a loss of yours, on scikit-learn's digits: ten steps on a CPU, and a checkpoint read back.

pip install lightning
python examples/libraries/lightning_module.py [LOSS]      a name, a formula or best/loss.json of a run, cls-multiclass
"""

import logging
import sys
import tempfile
from pathlib import Path

import lightning
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from cse_autoloss import load_loss


class Digits(lightning.LightningModule):
    """Two layers. What the checkpoint keeps of the loss is its name: it has no weights."""

    def __init__(self, loss: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        self.loss = load_loss(loss, "cls-multiclass")

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        features, digits = batch
        value: torch.Tensor = self.loss(self.net(features), digits)
        print(f"step {index}: loss {value.item():.4f}")
        return value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(0)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    trainer = lightning.Trainer(
        max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = Digits(sys.argv[1] if len(sys.argv) > 1 else "cse-autoloss-a-cls")
    trainer.fit(model, DataLoader(data, batch_size=128, shuffle=True))
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_checkpoint(Path(folder) / "digits.ckpt")
        again = Digits.load_from_checkpoint(Path(folder) / "digits.ckpt")
    print("from the checkpoint:", again.loss)
