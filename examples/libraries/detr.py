"""Hugging Face Transformers' DETR with losses of yours, on scenes of handwriting: ten steps on a CPU.

A classification loss of sigmoid heads (cls-binary) gets a Deformable DETR, one of softmax heads a DETR.

pip install transformers
python examples/libraries/detr.py [CLS_LOSS [BOX_LOSS]]      names, formulas or best/loss.json of a run

The network is tiny and begins from nothing; for a trained one, DetrForObjectDetection.from_pretrained(…).
"""

import sys

import torch
import transformers as hf

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export.adapters.elements import elements_of
from cse_autoloss.export.adapters.transformers import with_losses
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks.scenes import make_scenes

SIDE = 64


def batch() -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """Sixteen scenes, with boxes as the library has them: centre and size in parts of the image."""
    scenes = make_scenes(SceneSettings(canvas=SIDE, counts=(16, 1, 1)))["train"]
    labels = []
    for boxes, classes in zip(torch.from_numpy(scenes.boxes), torch.from_numpy(scenes.labels)):
        corners, known = boxes[classes >= 0] / SIDE, classes[classes >= 0]
        sizes = corners[:, 2:] - corners[:, :2]
        labels.append({"class_labels": known, "boxes": torch.cat([corners[:, :2] + sizes / 2, sizes], 1)})
    return torch.from_numpy(scenes.images).float().expand(-1, 3, -1, -1) / 255, labels


def tiny(cls_loss: str) -> hf.PreTrainedModel:
    backbone = hf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    small = {"encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    small |= {"backbone_config": backbone, "d_model": 32, "num_queries": 12, "num_labels": 10}
    try:
        elements_of(cls_loss, "cls-multiclass")
    except AutoLossError:
        return hf.DeformableDetrForObjectDetection(hf.DeformableDetrConfig(num_feature_levels=1, **small))
    return hf.DetrForObjectDetection(hf.DetrConfig(**small))


if __name__ == "__main__":
    cls_loss = sys.argv[1] if len(sys.argv) > 1 else "cse-autoloss-a-cls"
    box_loss = sys.argv[2] if len(sys.argv) > 2 else "cse-autoloss-b-reg"
    torch.manual_seed(0)
    model = with_losses(tiny(cls_loss).train(), cls_loss, box_loss, match=True, pixels=SIDE)
    images, labels = batch()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(10):
        found = model(images, labels=labels)
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
        terms = ", ".join(f"{name} {found.loss_dict[name].item():.3f}" for name in ("loss_ce", "loss_giou"))
        print(f"step {step}: loss {found.loss.item():.3f} ({terms})")
