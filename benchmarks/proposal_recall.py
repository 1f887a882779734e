"""Which objects does a two-stage proxy propose, and does its second stage name the true boxes? Class by class.

    python benchmarks/proposal_recall.py coco:DIR [--detector two-stage-pyramid] [--pixels 192] [--epochs 7]

Trains one proxy (cross-entropy + GIoU, box weight 2, seed 0) and looks at the validation photographs. Prints a table in
Markdown: objects, those that a proposal overlaps with an IoU of 0.5, true boxes that are named right, and the sides in
pixels of what the positive cells propose and of what they should.
"""

from __future__ import annotations

import argparse

import torch

from cse_autoloss.detectors.boxes import pairwise_iou
from cse_autoloss.detectors.two_stage import TwoStageDetector
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.tasks.detection import DetectionTask


@torch.no_grad()
def table(task: DetectionTask, model: TwoStageDetector) -> str:
    """The table for the validation images."""
    split = task.split("val")
    images = task._normalised(torch.from_numpy(split.images))
    boxes, labels = torch.from_numpy(split.boxes).float(), torch.from_numpy(split.labels)
    size = (images.shape[-2], images.shape[-1])
    prediction = model.eval()(images)
    proposals = model._propose(prediction.dense, size, model._count(prediction.dense))
    named = model._second_stage(prediction.features, boxes)[0].argmax(-1)
    valid = (proposals.labels >= 0)[..., None]
    best = torch.where(valid, pairwise_iou(proposals.boxes, boxes), 0.0).amax(1)
    cells = prediction.dense.logits.shape[1]
    targets = model.targets(boxes, labels, size)
    rows = [
        "| class | objects | proposed | named right | positive cells | px proposed | px true |",
        "|---" * 7 + "|",
    ]
    for index, name in enumerate(task.class_names):
        own, at = labels == index, targets.label[:, :cells] == index
        sides = [
            (found[:, 2:] - found[:, :2]).mean()
            for found in (prediction.dense.boxes[at], targets.box[:, :cells][at])
        ]
        rows.append(
            f"| {name} | {int(own.sum())} | {int((best[own] >= 0.5).sum())} | {int((named[own] == index).sum())} "
            f"| {int(at.sum())} | {sides[0]:.0f} | {sides[1]:.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="coco:DIR")
    parser.add_argument("--detector", default="two-stage-pyramid", choices=["two-stage", "two-stage-pyramid"])
    parser.add_argument("--pixels", type=int, default=192)
    parser.add_argument("--epochs", type=float, default=7.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = DetectionSettings(
        data=options.data, image_size=options.pixels, batch=8, lr=0.1, detector=options.detector
    )
    task = DetectionTask(settings)
    losses = {"cls": load_loss("cross-entropy", reduction="sum"), "reg": load_loss("giou", reduction="sum")}
    run = task.training(losses, seed=0, epochs=options.epochs, settings={"box_weight": 2.0})
    run.advance(run.steps)
    assert isinstance(run.model, TwoStageDetector)
    print(table(task, run.model))


if __name__ == "__main__":
    main()
