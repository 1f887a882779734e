"""Box losses of the catalogue."""

from __future__ import annotations

from cse_autoloss.losses.boxes import CIoULoss, DIoULoss, L1Loss, SmoothL1Loss
from cse_autoloss.losses.entry import Entry

_RELEASE = "Liu et al., ICLR 2021 (CSE-Autoloss)"

BOX_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "iou", "IoU loss, 1 − IoU", "reg", "Rahman and Wang, ISVC 2016",
        "Sub(1,Div(I,U))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
    ),
    Entry(
        "square-iou", "Squared IoU loss, 1 − IoU²", "reg", "He et al., NeurIPS 2021 (α-IoU, α = 2)",
        "Sub(1,Mul(Div(I,U),Div(I,U)))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
    ),
    Entry(
        "log-iou", "IoU loss, −log IoU", "reg", "Yu et al., ACM MM 2016 (UnitBox)",
        "Neg(Log(Div(I,U)))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        note="46.05 (−log 1e-20) where the boxes do not overlap.",
    ),
    Entry(
        "giou", "GIoU loss, (1 − i/u) + (e − u)/e", "reg", "Rezatofighi et al., CVPR 2019",
        "Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
    ),
    Entry(
        "diou", "DIoU loss", "reg", "Zheng et al., AAAI 2020",
        factory=DIoULoss, properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
    ),
    Entry(
        "ciou", "CIoU loss", "reg", "Zheng et al., AAAI 2020",
        factory=CIoULoss, properties=frozenset({"non-negative", "scale-invariant"}),
        note="The weight α of the aspect-ratio term is held constant in the gradient, as in the paper.",
    ),
    Entry(
        "l1", "L1 on the coordinates", "reg", "common",
        factory=L1Loss, properties=frozenset({"non-negative", "monotone", "convex"}),
        note="Summed over the four coordinates, in pixels.",
    ),
    Entry(
        "smooth-l1", "Smooth L1 on the coordinates, β = 1 pixel", "reg", "Girshick, ICCV 2015 (Fast R-CNN)",
        factory=SmoothL1Loss, properties=frozenset({"non-negative", "monotone", "convex"}),
        note="Summed over the four coordinates, in pixels.",
    ),
    Entry(
        "cse-autoloss-a-reg", "CSE-Autoloss-A, box branch", "reg", _RELEASE,
        "Add(1,Neg(Add(Div(I,U),Neg(Div(Add(E,Neg(Add(I,2))),E)))))",
        infimum=float("-inf"), properties=frozenset({"monotone"}),
        note="(1 − i/u) + (1 − (i + 2)/e): the 2 is in square pixels, so the loss depends on the scale.",
    ),
    Entry(
        "cse-autoloss-b-reg", "CSE-Autoloss-B, box branch", "reg", _RELEASE,
        "Neg(Div(Add(Div(Neg(Add(Neg(E),Add(1,I))),Neg(Add(3,Add(2,U)))),Add(Div(E,E),Div(Neg(E),Neg(1)))),"
        "Neg(Add(Div(Neg(Add(U,Div(I,1))),Neg(3)),Neg(E)))))",
        infimum=float("-inf"), properties=frozenset({"monotone"}),
    ),
)  # fmt: skip
