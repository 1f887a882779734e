"""The two-stage proxy: what its regions are, what its losses receive, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.boxes import iou_parts, paired_iou
from cse_autoloss.detectors.one_stage import Prediction
from cse_autoloss.detectors.proposals import proposal_loss, sample_regions
from cse_autoloss.detectors.training import TrainingSet, train
from cse_autoloss.detectors.trunks import PlainSettings
from cse_autoloss.detectors.two_stage import TwoStageDetector, TwoStagePyramid, TwoStageSettings, correct
from cse_autoloss.losses import load_loss
from cse_autoloss.training.loop import Diverged, Schedule

SMALL = TwoStageSettings(
    trunk=PlainSettings(width=8, deep_width=12), proposal_width=8, proposals=(8, 10), hidden=16
)
CLASSES = 3


def cross_entropy(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="sum")


def giou(pred: Tensor, target: Tensor) -> Tensor:
    intersection, union, enclosing = iou_parts(pred, target)
    return (1 - intersection / union + (enclosing - union) / enclosing).sum()


def detector(seed: int = 0, classes: int = CLASSES) -> TwoStageDetector:
    torch.manual_seed(seed)
    return TwoStageDetector(1, classes, SMALL)


def squares(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 1, 32, 32) with one filled box each, whose brightness tells its class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 32, 32, generator=generator) * 0.05
    low = torch.randint(0, 14, (count, 2), generator=generator)
    high = low + torch.randint(9, 18, (count, 2), generator=generator)
    labels = torch.randint(0, 2, (count, 1), generator=generator)
    for row in range(count):
        (x0, y0), (x1, y1) = low[row].tolist(), high[row].tolist()
        images[row, 0, y0:y1, x0:x1] += 1.0 if labels[row, 0] == 0 else -1.0
    return images, torch.cat((low, high), dim=1)[:, None].float(), labels


# -- the boxes to learn from ---------------------------------------------------------------------------------


def truth_of(*rows: tuple[int, tuple[float, float, float, float]]) -> Assignment:
    return Assignment(torch.tensor([[label for label, _ in rows]]), torch.tensor([[box for _, box in rows]]))


TRUTH = truth_of((1, (0, 0, 10, 10)), (2, (20, 20, 30, 30)), (CLASSES, (0, 0, 0, 0)))
PROPOSALS = torch.tensor(
    [[[0, 0, 10, 9], [40, 40, 50, 50], [20, 20, 30, 24.9], [20, 20, 30, 25], [0, 0, 60, 60], [1, 1, 1, 1]]]
)
VALID = torch.tensor([[True, True, True, True, True, False]])


def test_objects_come_first_and_proposals_are_matched() -> None:
    regions = sample_regions(PROPOSALS, VALID, TRUTH, num_classes=CLASSES, count=9, positive_share=1.0)
    # Positives: both objects, proposal 0 (IoU 0.9), proposal 3 (0.5 exactly); then background 1, 2, 4.
    assert regions.label.tolist() == [[1, 2, 1, 2, 3, 3, 3, -1, -1]]
    assert regions.boxes[0, :7].tolist() == [
        [0, 0, 10, 10],
        [20, 20, 30, 30],
        [0, 0, 10, 9],
        [20, 20, 30, 25],
        [40, 40, 50, 50],
        pytest.approx([20, 20, 30, 24.9]),
        [0, 0, 60, 60],
    ]
    assert regions.target[0, :4].tolist() == [[0, 0, 10, 10], [20, 20, 30, 30]] * 2


def test_positives_keep_to_their_share() -> None:
    regions = sample_regions(PROPOSALS, VALID, TRUTH, num_classes=CLASSES, count=4, positive_share=0.5)
    assert regions.label.tolist() == [[1, 2, 3, 3]]
    # With the background used up, positives fill the rest.
    regions = sample_regions(PROPOSALS, VALID, TRUTH, num_classes=CLASSES, count=6, positive_share=0.5)
    assert regions.label.tolist() == [[1, 2, 1, 3, 3, 3]]
    regions = sample_regions(PROPOSALS, VALID, TRUTH, num_classes=CLASSES, count=7, positive_share=0.3)
    assert regions.label.tolist() == [[1, 2, 3, 3, 3, 1, 2]]


def test_an_image_without_objects_is_all_background() -> None:
    empty = truth_of((CLASSES, (0, 0, 0, 0)))
    regions = sample_regions(PROPOSALS, VALID, empty, num_classes=CLASSES, count=4)
    assert regions.label.tolist() == [[3, 3, 3, 3]]


def test_proposal_loss_by_hand() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 2, 4]]])
    cells = Assignment(torch.tensor([[0, CLASSES]]), torch.tensor([[[0.0, 0, 2, 4], [0, 0, 0, 0]]]))
    dense = Prediction(torch.tensor([[[1.0], [-2.0]]]), boxes, torch.tensor([[0.5, 9.0]]))
    objectness = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))
    quality = math.log(1 + math.exp(0.5)) - 0.5 * 0.5
    assert proposal_loss(dense, cells, CLASSES).item() == pytest.approx(objectness + 0.5 + quality, abs=1e-5)


def test_proposal_boxes_are_learnt_object_by_object() -> None:
    # Two cells of one object, predicted right, and one cell of another, off by half: half the loss, not a third.
    label = torch.tensor([[0, 0, 1]])
    target = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 10, 12]]])
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 12, 12]]])
    dense = Prediction(torch.full((1, 3, 1), 50.0), boxes, torch.full((1, 3), 50.0))
    quality = 50.0 - 0.5 * 50.0
    cells = Assignment(label, target)
    found = proposal_loss(dense, cells, CLASSES, by_object=True).item()
    assert found == pytest.approx((0.5 + quality) / 2, abs=1e-4)
    assert proposal_loss(dense, cells, CLASSES).item() == pytest.approx((0.5 + quality) / 3, abs=1e-4)


def test_proposals_of_images_without_objects_learn_the_background_alone() -> None:
    dense = Prediction(torch.zeros(2, 3, 1), torch.rand(2, 3, 4).cumsum(2), torch.zeros(2, 3))
    cells = Assignment(torch.full((2, 3), CLASSES), torch.zeros(2, 3, 4))
    assert proposal_loss(dense, cells, CLASSES, by_object=True).item() == pytest.approx(6 * math.log(2))


# -- what the losses receive ---------------------------------------------------------------------------------


def test_targets_hold_cells_and_objects() -> None:
    model = detector()
    boxes = torch.tensor([[[0.0, 0, 16, 16], [0, 0, 0, 0]]])
    targets = model.targets(boxes, torch.tensor([[2, -1]]), (32, 32))
    assert targets.label.shape == (1, 16 + 2)
    assert targets.label[0, 16:].tolist() == [2, CLASSES]
    assert sorted(set(targets.label[0, :16].tolist())) == [2, CLASSES]
    none = model.targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), (32, 32))
    assert none.label.shape == (2, 17)
    assert (none.label == CLASSES).all()


class Recorder:
    """Losses that keep what they were given."""

    def cls(self, logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        self.logits, self.target, self.iou = logits, target, iou
        return logits.sum() * 0 + 6.0

    def reg(self, pred: Tensor, target: Tensor) -> Tensor:
        self.pred, self.box = pred, target
        return pred.sum() * 0 + 2.0


def test_the_losses_get_logits_boxes_and_iou_as_promised() -> None:
    model, seen = detector(), Recorder()
    images, boxes, labels = squares(4)
    targets = model.targets(boxes, labels, (32, 32))
    prediction = model(images)
    total = model.loss(prediction, targets, seen.cls, seen.reg, box_weight=3.0)

    assert seen.logits.shape == (seen.target.shape[0], CLASSES + 1)
    assert seen.logits.requires_grad
    positive = seen.target < CLASSES
    count = int(positive.sum())
    assert count >= 4, "the objects' own boxes are among the regions"
    assert seen.pred.shape == seen.box.shape == (count, 4)
    assert seen.pred.requires_grad
    assert not seen.iou.requires_grad
    assert not seen.box.requires_grad
    assert torch.equal(seen.iou[positive], paired_iou(seen.pred.detach(), seen.box))
    assert (seen.iou[~positive] == 0).all()
    cells = Assignment(targets.label[:, :16], targets.box[:, :16])
    expected = proposal_loss(prediction.dense, cells, CLASSES) + (6.0 + 3.0 * 2.0) / count
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_larger_images_have_more_proposals() -> None:
    model = TwoStageDetector(1, CLASSES, SMALL).eval()
    for size, count in ((16, 8), (32, 8), (48, 9), (64, 10)):
        seen = Recorder()
        targets = model.targets(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), (size, size))
        model.loss(model(torch.randn(1, 1, size, size)), targets, seen.cls, seen.reg)
        assert seen.logits.shape[0] <= count
        assert model._count(model(torch.randn(1, 1, size, size)).dense) == count


def test_no_gradient_of_the_second_stage_enters_the_proposals() -> None:
    model = detector()
    images, boxes, labels = squares(4)
    targets = model.targets(boxes, labels, (32, 32))

    def gradient(weight: float) -> Tensor:
        model.zero_grad()
        model.loss(
            model(images), targets, lambda x, t, w: weight * cross_entropy(x, t, w), giou, weight
        ).backward()
        out = model.proposer.out.weight.grad
        assert out is not None
        return out.clone()

    assert torch.allclose(gradient(1.0), gradient(0.0), atol=1e-6)


def test_batches_without_objects_have_a_finite_loss() -> None:
    model = detector()
    images = squares(3)[0]
    targets = model.targets(torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.int64), (32, 32))
    loss = model.loss(model(images), targets, cross_entropy, giou)
    loss.backward()
    assert torch.isfinite(loss)


def test_correct_moves_and_stretches() -> None:
    region = torch.tensor([10.0, 20.0, 30.0, 60.0])
    assert torch.equal(correct(region, torch.zeros(4)), region)
    change = torch.tensor([1.0, -1.0, math.log(2) / 0.2, 0.0])
    # Centre (20, 40) moves by (2, -4); the width 20 doubles.
    assert torch.allclose(correct(region, change), torch.tensor([2.0, 16.0, 42.0, 56.0]))
    assert torch.isfinite(correct(region, torch.full((4,), 1e6))).all()


# -- the whole -----------------------------------------------------------------------------------------------


def test_decode_gives_sorted_detections_on_the_image() -> None:
    model = detector().eval()
    found = model.decode(model(squares(5)[0]), (32, 32), limit=7)
    assert found.boxes.shape == (5, 7, 4)
    there = found.labels >= 0
    assert (found.labels < CLASSES).all()
    assert there[:, 0].all()
    assert ((found.boxes >= 0) & (found.boxes <= 32))[there].all()
    assert (found.log_scores[:, :-1] >= found.log_scores[:, 1:]).all()
    assert (found.log_scores[there] <= 0).all()
    assert (found.log_scores[~there] == -torch.inf).all()


def test_one_image_at_a_time_gives_the_same_detections() -> None:
    model = detector().eval()
    images = squares(3)[0]
    together = model.decode(model(images), (32, 32))
    for row in range(3):
        alone = model.decode(model(images[row : row + 1]), (32, 32))
        assert torch.allclose(alone.boxes[0], together.boxes[row], atol=1e-4)
        assert torch.equal(alone.labels[0], together.labels[row])


def trained(
    cls: object = cross_entropy, reg: object = giou, seed: int = 0, epochs: float = 5
) -> TwoStageDetector:
    model = detector(seed, classes=2)
    images, boxes, labels = squares(192)
    data = TrainingSet(images, model.targets(boxes, labels, (32, 32)))
    train(model, data, cls, reg, Schedule(epochs), seed=seed)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize(
    ("cls", "reg"), [("cross-entropy", "giou"), ("cse-autoloss-a-cls", "cse-autoloss-a-reg")]
)
def test_it_learns_with_losses_of_the_catalogue(cls: str, reg: str) -> None:
    model = trained(load_loss(cls, "cls-multiclass", "sum"), load_loss(reg, "reg", "sum"))
    images, boxes, labels = squares(60, seed=1)
    best = model.decode(model(images), (32, 32))
    assert (best.labels[:, :1] == labels).float().mean() > 0.9
    assert paired_iou(best.boxes[:, 0], boxes[:, 0]).mean() > 0.6


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other = trained(epochs=1), trained(epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(Diverged, match="loss nan"):
        trained(reg=lambda pred, target: (pred - target).sum() * math.nan)


def test_the_pyramid_cuts_regions_out_of_a_fine_map() -> None:
    model = TwoStagePyramid(3, CLASSES).eval()
    prediction = model(torch.zeros(1, 3, 64, 96))
    assert prediction.features.shape[-2:] == (16, 24)
    assert prediction.dense.boxes.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 4)
    seen = Recorder()
    targets = model.targets(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), (256, 256))
    model.loss(model(torch.randn(1, 3, 256, 256)), targets, seen.cls, seen.reg)
    assert seen.logits.shape[0] <= model.settings.learnt


def test_an_objects_own_box_is_its_own_among_thousands() -> None:
    low = torch.arange(3000.0)[:, None] * torch.tensor([0.01, 0.0])
    truth = Assignment(torch.arange(3000)[None] % CLASSES, torch.cat((low, low + 10), dim=-1)[None])
    regions = sample_regions(
        truth.box[:, :50], torch.ones(1, 50, dtype=torch.bool), truth, num_classes=CLASSES, count=40
    )
    assert torch.equal(regions.target, regions.boxes)
    assert regions.label[0, :30].tolist() == (torch.arange(30) % CLASSES).tolist()
