"""The catalogue's losses once more, from the papers' own notation, in 150-digit arithmetic.

Nothing here uses the package: no graph, no operators, no torch. With that many digits the plain formulas need
no stable forms, and derivatives are taken numerically. Where an ε of the package shows, it stands here too:
1e-7 added to union and enclosing area, and 1e-20 in a logarithm of an IoU of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpmath import acos, asin, atan, cos, diff, erf, exp, floor, log, mp, mpf, pi, sin, sqrt, tanh

mp.dps = 150

Number = mpf | float | int


def sigmoid(x: Number) -> mpf:
    return 1 / (1 + exp(-mpf(x)))


def _binary_cross_entropy(p: mpf, y: Number) -> mpf:
    return -(y * log(p) + (1 - y) * log(1 - p))


# --- one logit: f(x, y, q), q = w at a positive's class, else 0


def bce(x: Number, y: int, q: Number) -> mpf:
    return _binary_cross_entropy(sigmoid(x), y)


def _focal(gamma: int) -> Callable[[Number, int, Number], mpf]:
    def loss(x: Number, y: int, q: Number) -> mpf:
        return abs(y - sigmoid(x)) ** gamma * _binary_cross_entropy(sigmoid(x), y)

    return loss


def poly_1(x: Number, y: int, q: Number) -> mpf:
    p = sigmoid(x)
    p_t = p if y else 1 - p
    return -log(p_t) + (1 - p_t)


def quality_focal(x: Number, y: int, q: Number) -> mpf:
    return abs(q - sigmoid(x)) ** 2 * _binary_cross_entropy(sigmoid(x), q)


def varifocal(x: Number, y: int, q: Number) -> mpf:
    p = sigmoid(x)
    if q > 0:
        return -q * (q * log(p) + (1 - q) * log(1 - p))
    return -mpf("0.75") * p**2 * log(1 - p)


def b_cls(x: Number, y: int, q: Number) -> mpf:
    p = sigmoid(x)
    serf = (1 + erf(sqrt(pi) / 4 * sigmoid(1 - y))) / 2
    # The Gudermannian also is asin(tanh), unlike the package's atan(tanh(half)).
    sgdf = (asin(tanh(pi / 4 * x)) * 2 / pi + 1) / 2
    return -(q * (1 + serf) * log(p) + (sgdf - q) * (p - q) * log(1 - p))


BINARY = {
    "bce": bce,
    "focal": _focal(2),
    "focal-1": _focal(1),
    "poly-1": poly_1,
    "quality-focal": quality_focal,
    "varifocal": varifocal,
    "cse-autoloss-b-cls": b_cls,
}

# --- one sample: f(logits, target, w), w = 1 at background


def _probability(logits: Sequence[Number], target: int) -> mpf:
    return exp(mpf(logits[target])) / sum(exp(mpf(x)) for x in logits)


def _softmax_focal(gamma: int) -> Callable[[Sequence[Number], int, Number], mpf]:
    def loss(logits: Sequence[Number], target: int, w: Number) -> mpf:
        p = _probability(logits, target)
        return -((1 - p) ** gamma) * log(p)

    return loss


def softmax_poly_1(logits: Sequence[Number], target: int, w: Number) -> mpf:
    p = _probability(logits, target)
    return -log(p) + 1 - p


def a_cls(logits: Sequence[Number], target: int, w: Number) -> mpf:
    return -(1 + sin(mpf(w))) * log(_probability(logits, target))


MULTICLASS = {
    "cross-entropy": _softmax_focal(0),
    "softmax-focal": _softmax_focal(2),
    "softmax-focal-1": _softmax_focal(1),
    "softmax-poly-1": softmax_poly_1,
    "cse-autoloss-a-cls": a_cls,
}

# --- one pair of boxes: f(predicted, target), xyxy

Box = Sequence[Number]


def areas(a: Box, b: Box) -> tuple[mpf, mpf, mpf]:
    """Intersection, union and enclosing area, the last two with the package's 1e-7."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    i = mpf(width) * height
    u = (mpf(a[2]) - a[0]) * (mpf(a[3]) - a[1]) + (mpf(b[2]) - b[0]) * (mpf(b[3]) - b[1]) - i
    e = (mpf(max(a[2], b[2])) - min(a[0], b[0])) * (mpf(max(a[3], b[3])) - min(a[1], b[1]))
    return i, u + mpf(1e-7), e + mpf(1e-7)


def iou(a: Box, b: Box) -> mpf:
    i, u, _ = areas(a, b)
    return 1 - i / u


def square_iou(a: Box, b: Box) -> mpf:
    i, u, _ = areas(a, b)
    return 1 - (i / u) ** 2


def log_iou(a: Box, b: Box) -> mpf:
    i, u, _ = areas(a, b)
    return -log(i / u + mpf(1e-20))


def giou(a: Box, b: Box) -> mpf:
    i, u, e = areas(a, b)
    return 1 - (i / u - (e - u) / e)


def diou(a: Box, b: Box) -> mpf:
    apart = ((mpf(a[0]) + a[2] - b[0] - b[2]) / 2) ** 2 + ((mpf(a[1]) + a[3] - b[1] - b[3]) / 2) ** 2
    wide, high = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    return iou(a, b) + apart / (mpf(wide) ** 2 + mpf(high) ** 2 + mpf(1e-7))


def ciou_term(a: Box, b: Box) -> mpf:
    ratio = [atan((mpf(box[2]) - box[0]) / (mpf(box[3]) - box[1] + mpf(1e-7))) for box in (a, b)]
    return 4 / pi**2 * (ratio[1] - ratio[0]) ** 2


def ciou(a: Box, b: Box, weight: mpf | None = None) -> mpf:
    """`weight` is α; given, it stands for the one that is held constant in the gradient."""
    v = ciou_term(a, b)
    return diou(a, b) + (ciou_weight(a, b) if weight is None else weight) * v


def ciou_weight(a: Box, b: Box) -> mpf:
    v = ciou_term(a, b)
    return v / (iou(a, b) + v + mpf(1e-7))


def l1(a: Box, b: Box) -> mpf:
    return sum((abs(mpf(x) - y) for x, y in zip(a, b, strict=True)), mpf(0))


def smooth_l1(a: Box, b: Box) -> mpf:
    apart = [abs(mpf(x) - y) for x, y in zip(a, b, strict=True)]
    return sum((d**2 / 2 if d < 1 else d - mpf("0.5") for d in apart), mpf(0))


def a_reg(a: Box, b: Box) -> mpf:
    i, u, e = areas(a, b)
    return (1 - i / u) + (1 - (i + 2) / e)


def b_reg(a: Box, b: Box) -> mpf:
    i, u, e = areas(a, b)
    return -(1 + e + (1 + i - e) / (5 + u)) / (e - (u + i) / 3)


BOXES = {
    "iou": iou,
    "square-iou": square_iou,
    "log-iou": log_iou,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
    "l1": l1,
    "smooth-l1": smooth_l1,
    "cse-autoloss-a-reg": a_reg,
    "cse-autoloss-b-reg": b_reg,
}

# --- one sample of cosines: f(cosines, target)


def _margin(scale: int, f: Callable[[mpf], mpf]) -> Callable[[Sequence[Number], int], mpf]:
    def loss(cosines: Sequence[Number], target: int) -> mpf:
        own = exp(scale * f(mpf(cosines[target])))
        others = sum(exp(scale * mpf(c)) for j, c in enumerate(cosines) if j != target)
        return -log(own / (own + others))

    return loss


def _psi(c: mpf, m: int) -> mpf:
    k = floor(m * acos(c) / pi)
    return (-1) ** int(k) * cos(m * acos(c)) - 2 * k


MARGIN = {
    "l-softmax": _margin(30, lambda c: _psi(c, 2)),
    "a-softmax": _margin(30, lambda c: (5 * c + _psi(c, 4)) / 6),
    "cosface": _margin(64, lambda c: c - mpf(0.35)),
    "arcface": _margin(64, lambda c: cos(acos(c) + mpf(0.5))),
    "combined-margin": _margin(64, lambda c: cos(acos(c) + mpf(0.3)) - mpf(0.2)),
}


# --- values and gradients of a whole sample


def sample(
    name: str, prediction: Sequence[float], target: int | Sequence[float], w: float | None = None
) -> tuple[list[mpf], list[mpf]]:
    """Values before the reduction and the gradient of their sum by the prediction, α weighting left out."""
    if name in BINARY:
        f = BINARY[name]
        values, gradient = [], []
        for column, x in enumerate(prediction):
            y = int(column == target)
            q = mpf(1 if w is None else w) if y else mpf(0)
            values.append(f(x, y, q))
            gradient.append(diff(lambda t, y=y, q=q: f(t, y, q), x))
        return values, gradient
    whole: Callable[[Sequence[Number]], mpf]
    if name in MULTICLASS:
        weight = 1 if w is None or target == len(prediction) - 1 else w
        whole = lambda p: MULTICLASS[name](p, target, weight)  # noqa: E731
    elif name == "ciou":
        weight = ciou_weight(prediction, target)
        whole = lambda p: ciou(p, target, weight)  # noqa: E731
    elif name in BOXES:
        whole = lambda p: BOXES[name](p, target)  # noqa: E731
    else:
        whole = lambda p: MARGIN[name](p, target)  # noqa: E731

    def along(axis: int) -> mpf:
        return diff(lambda t: whole([*prediction[:axis], t, *prediction[axis + 1 :]]), prediction[axis])

    return [whole(prediction)], [along(axis) for axis in range(len(prediction))]
