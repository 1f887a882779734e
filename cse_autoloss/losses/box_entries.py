"""Box losses of the catalogue."""

from __future__ import annotations

from cse_autoloss.losses.boxes import CIoULoss, DIoULoss, L1Loss, SmoothL1Loss
from cse_autoloss.losses.entry import Entry, Numbers, Point
from cse_autoloss.spaces import REG

_RELEASE = "Liu et al., ICLR 2021 (CSE-Autoloss)"


def _boxes(value: Numbers, gradient: Numbers, value_2: Numbers, gradient_2: Numbers) -> tuple[Point, ...]:
    """An overlapping and a disjoint pair."""
    return (
        Point((0.0, 0.0, 10.0, 8.0), (2.0, 1.0, 10.5, 11.0), value, gradient),
        Point((0.0, 0.0, 4.0, 4.0), (6.0, 5.0, 10.0, 11.0), value_2, gradient_2),
    )


BOX_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "iou", "IoU loss (1 − IoU)", REG, "Rahman and Wang, ISVC 2016",
        "Sub(1,Div(I,U))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        points=_boxes(
            (0.486238532581,), (-0.0377072636292, -0.0471340795364, -0.0595067754737, -0.0639676794382),
            (1,), (0, 0, 0, 0),
        ),
    ),
    Entry(
        "square-iou", "squared IoU loss (1 − IoU²)", REG, "He et al., NeurIPS 2021 (α-IoU, α = 2)",
        "Sub(1,Mul(Div(I,U),Div(I,U)))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        points=_boxes(
            (0.736049154596,), (-0.0387450781889, -0.0484313477361, -0.0611445765774, -0.0657282577111),
            (1,), (0, 0, 0, 0),
        ),
    ),
    Entry(
        "log-iou", "logarithmic IoU loss (−log IoU)", REG, "Yu et al., ACM MM 2016 (UnitBox)",
        "Neg(Log(Div(I,U)))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        note="46.05 (−log 1e-20) where the boxes do not overlap; its slope grows without bound as they part.",
        points=_boxes(
            (0.665996192411,), (-0.0733944953455, -0.0917431191819, -0.115825688082, -0.124508519021),
            (46.0517018599,), (0, 0, 0, 0),
        ),
    ),
    Entry(
        "giou", "GIoU loss", REG, "Rezatofighi et al., CVPR 2019",
        "Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))",
        properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        points=_boxes(
            (0.54251558881,), (-0.0583215699445, -0.0463469878454, -0.0681647841242, -0.0812836967392),
            (1.63636363579,), (-5.78512395642e-11, 0.00330578506837, -0.0363636363306, -0.0363636363306),
        ),
    ),
    Entry(
        "diou", "DIoU loss", REG, "Zheng et al., AAAI 2020",
        factory=DIoULoss, properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        points=_boxes(
            (0.510292586625,), (-0.0409283008822, -0.0534943425004, -0.0649121808767, -0.0726163280831),
            (1.32579185506,), (0.00233410452892, 0.00528244710728, -0.0271493212547, -0.0271493212547),
        ),
    ),
    Entry(
        "ciou", "CIoU loss", REG, "Zheng et al., AAAI 2020",
        factory=CIoULoss, properties=frozenset({"non-negative", "monotone", "scale-invariant"}),
        note="The weight α of the aspect-ratio term is held constant in the gradient, as in the paper.",
        points=_boxes(
            (0.510733972019,), (-0.0411530956891, -0.0532133489952, -0.0646873860698, -0.0728973215882),
            (1.32603736279,), (0.00202317081802, 0.0055933808104, -0.0268383875438, -0.0274602549578),
        ),
    ),
    Entry(
        "l1", "L1 loss on the coordinates", REG, "common",
        factory=L1Loss, properties=frozenset({"non-negative", "monotone", "convex"}),
        note="Summed over the four coordinates, in pixels.",
        points=_boxes(
            (6.5,), (-1, -1, -1, -1),
            (24,), (-1, -1, -1, -1),
        ),
    ),
    Entry(
        "smooth-l1", "smooth L1 loss on the coordinates (β = 1 pixel)", REG, "Girshick, ICCV 2015",
        factory=SmoothL1Loss, properties=frozenset({"non-negative", "monotone", "convex"}),
        note="Summed over the four coordinates, in pixels.",
        points=_boxes(
            (4.625,), (-1, -1, -0.5, -1),
            (22,), (-1, -1, -1, -1),
        ),
    ),
    Entry(
        "cse-autoloss-a-reg", "CSE-Autoloss-A's box loss", REG, _RELEASE,
        "Add(1,Neg(Add(Div(I,U),Neg(Div(Add(E,Neg(Add(I,2))),E)))))",
        infimum=-2.0, properties=frozenset({"monotone"}),
        note="(1 − i/u) + (1 − (i + 2)/e): the 2 is in square pixels, so the loss depends on the scale.",
        points=_boxes(
            (0.984074030852,), (-0.0855324542287, -0.092785397836, -0.120112836027, -0.133231748642),
            (1.98181818183,), (-0.00181818181488, -0.00165289255898, 0, 0),
        ),
    ),
    Entry(
        "cse-autoloss-b-reg", "CSE-Autoloss-B's box loss", REG, _RELEASE,
        "Neg(Div(Add(Div(Neg(Add(Neg(E),Add(1,I))),Neg(Add(3,Add(2,U)))),Add(Div(E,E),Div(Neg(E),Neg(1)))),"
        "Neg(Add(Div(Neg(Add(U,Div(I,1))),Neg(3)),Neg(E)))))",
        infimum=-6.5, properties=frozenset({"monotone"}),
        points=_boxes(
            (-1.91713788557,), (-0.0832500692319, -0.0543236295697, -0.0855912823621, -0.106936162315),
            (-1.1232183911,), (0.00116985948239, 0.00267441754966, -0.0177199982224, -0.0177199982224),
        ),
    ),
)  # fmt: skip
