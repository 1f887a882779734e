"""Ultralytics' YOLO11 with losses of yours, on scenes of handwriting: ten steps on a CPU.

pip install ultralytics
python examples/libraries/ultralytics_yolo.py [CLS_LOSS [BOX_LOSS]]      names, formulas or best/loss.json of a run

The network begins from nothing; a trained one is YOLO("yolo11n.pt"). Ultralytics is under AGPL-3.0, or a licence that
one buys: this package calls it and holds nothing of it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from cse_autoloss.export.adapters.ultralytics import trainer_with
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks.scenes import make_scenes

SIDE = 64
PLAIN = dict.fromkeys(("mosaic", "fliplr", "hsv_h", "hsv_s", "hsv_v", "scale", "translate", "erasing"), 0.0)
"""The same images at each step, so that the loss can be seen to fall."""


def written(folder: Path) -> Path:
    """Sixteen scenes to train on, in the library's layout; the file that names them."""
    scenes = make_scenes(SceneSettings(canvas=SIDE, counts=(16, 1, 1)))["train"]
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for row, (pixels, boxes, labels) in enumerate(zip(scenes.images, scenes.boxes, scenes.labels)):
        Image.fromarray(np.repeat(pixels[0, ..., None], 3, -1)).save(folder / "images" / f"{row}.png")
        known = labels >= 0
        corners = boxes[known] / SIDE
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        np.savetxt(folder / "labels" / f"{row}.txt", np.c_[labels[known], centre, size], "%g")
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images\nval: images\nnames: {[str(i) for i in range(10)]}\n")
    return data


def tell(trainer) -> None:
    terms = ", ".join(f"{name} {value.item():.3f}" for name, value in trainer.loss_items.items())
    print(f"step {trainer.epoch}: loss {trainer.loss.item():.3f} ({terms})")


if __name__ == "__main__":
    cls_loss = sys.argv[1] if len(sys.argv) > 1 else "cse-autoloss-b-cls"
    box_loss = sys.argv[2] if len(sys.argv) > 2 else "giou"
    LOGGER.setLevel("ERROR")
    model = YOLO("yolo11n.yaml")
    model.add_callback("on_train_batch_end", tell)
    with tempfile.TemporaryDirectory() as folder:
        model.train(
            trainer=trainer_with(cls_loss, box_loss), data=written(Path(folder)), project=folder, imgsz=SIDE,
            epochs=10, batch=16, nbs=16, optimizer="AdamW", lr0=1e-3, warmup_epochs=0, device="cpu", workers=0,
            amp=False, save=False, plots=False, val=False, **PLAIN,
        )  # fmt: skip
