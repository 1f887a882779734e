"""The catalogue's losses once more, from the papers' own notation, in 150-digit arithmetic.

Nothing here uses the package: no graph, no operators, no torch. With that many digits the plain formulas need
no stable forms, and derivatives are taken numerically. Where an ε of the package shows, it stands here too:
1e-7 added to union and enclosing area, and 1e-20 in a logarithm of an IoU of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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


def focal(x: Number, y: int, q: Number, gamma: Number = 2) -> mpf:
    return abs(y - sigmoid(x)) ** gamma * _binary_cross_entropy(sigmoid(x), y)


def poly_1(x: Number, y: int, q: Number, epsilon: Number = 1) -> mpf:
    p = sigmoid(x)
    p_t = p if y else 1 - p
    return -log(p_t) + epsilon * (1 - p_t)


def quality_focal(x: Number, y: int, q: Number, beta: Number = 2) -> mpf:
    return abs(q - sigmoid(x)) ** beta * _binary_cross_entropy(sigmoid(x), q)


def varifocal(x: Number, y: int, q: Number, alpha: Number = 0.75, gamma: Number = 2) -> mpf:
    p = sigmoid(x)
    if q > 0:
        return -q * (q * log(p) + (1 - q) * log(1 - p))
    return -alpha * p**gamma * log(1 - p)


def asymmetric(
    x: Number, y: int, q: Number,
    gamma_neg: Number = 4, margin: Number = 0.05, gamma_pos: Number = 0,
) -> mpf:  # fmt: skip
    p = sigmoid(x)
    if y:
        return -((1 - p) ** gamma_pos) * log(p)
    shifted = max(p - margin, mpf(0))
    return -(shifted**gamma_neg) * log(1 - shifted)


def hill(x: Number, y: int, q: Number, margin: Number = 1, gamma: Number = 2, weight: Number = 1.5) -> mpf:
    if y:
        return focal(x - margin, 1, q, gamma)
    return (weight - sigmoid(x)) * sigmoid(x) ** 2


def splc(x: Number, y: int, q: Number, tau: Number = 0.6, margin: Number = 1, gamma: Number = 2) -> mpf:
    if y:
        return focal(x - margin, 1, q, gamma)
    return focal(x, int(sigmoid(x) > tau), q, gamma)


def quality_square(x: Number, y: int, q: Number, weight: Number = 1, power: Number = 1) -> mpf:
    return -(q**power) * log(sigmoid(x)) if y else weight * sigmoid(x) ** 2


def quality_hill(x: Number, y: int, q: Number, weight: Number = 1, power: Number = 1) -> mpf:
    return quality_square(x, y, q, 1, power) if y else weight * hill(x, y, q)


def quality_gce(
    x: Number, y: int, q: Number, weight: Number = 0.2, power: Number = 2, exponent: Number = 0.3
) -> mpf:
    p = sigmoid(x)
    return q**power * (1 - p**exponent) / exponent if y else weight * p * p


def b_cls(x: Number, y: int, q: Number) -> mpf:
    p = sigmoid(x)
    serf = (1 + erf(sqrt(pi) / 4 * sigmoid(1 - y))) / 2
    # The Gudermannian also is asin(tanh), unlike the package's atan(tanh(half)).
    sgdf = (asin(tanh(pi / 4 * x)) * 2 / pi + 1) / 2
    return -(q * (1 + serf) * log(p) + (sgdf - q) * (p - q) * log(1 - p))


BINARY = {
    "bce": bce,
    "focal": focal,
    "focal-1": partial(focal, gamma=1),
    "poly-1": poly_1,
    "quality-focal": quality_focal,
    "varifocal": varifocal,
    "asymmetric": asymmetric,
    "hill": hill,
    "splc": splc,
    "quality-square": quality_square,
    "quality-hill": quality_hill,
    "quality-gce": quality_gce,
    "cse-autoloss-b-cls": b_cls,
}

# --- one sample: f(logits, target, w), w = 1 at background


def _probability(logits: Sequence[Number], target: int) -> mpf:
    return exp(mpf(logits[target])) / sum(exp(mpf(x)) for x in logits)


Logits = Sequence[Number]


def softmax_focal(logits: Logits, target: int, w: Number, gamma: Number = 2) -> mpf:
    p = _probability(logits, target)
    return -((1 - p) ** gamma) * log(p)


def softmax_poly_1(logits: Logits, target: int, w: Number, epsilon: Number = 1) -> mpf:
    p = _probability(logits, target)
    return -log(p) + epsilon * (1 - p)


def label_smoothing(logits: Logits, target: int, w: Number, epsilon: Number = 0.1) -> mpf:
    each = [-log(_probability(logits, k)) for k in range(len(logits))]
    return (1 - epsilon) * each[target] + epsilon * sum(each) / len(each)


def generalised_ce(logits: Logits, target: int, w: Number, q: Number = 0.7) -> mpf:
    return (1 - _probability(logits, target) ** q) / q


def symmetric_ce(logits: Logits, target: int, w: Number, alpha: Number = 0.1, beta: Number = 1) -> mpf:
    # The reverse is −Σ p_k·log y_k with A = −4 for log 0.
    reverse = sum(4 * _probability(logits, k) for k in range(len(logits)) if k != target)
    return -alpha * log(_probability(logits, target)) + beta * reverse


def mae(logits: Logits, target: int, w: Number) -> mpf:
    return sum(abs(int(k == target) - _probability(logits, k)) for k in range(len(logits)))


def taylor_ce(logits: Logits, target: int, w: Number, order: Number = 2) -> mpf:
    p = _probability(logits, target)
    return sum((1 - p) ** k / k for k in range(1, int(order) + 1))


def a_cls(logits: Sequence[Number], target: int, w: Number) -> mpf:
    return -(1 + sin(mpf(w))) * log(_probability(logits, target))


MULTICLASS = {
    "cross-entropy": partial(softmax_focal, gamma=0),
    "softmax-focal": softmax_focal,
    "softmax-focal-1": partial(softmax_focal, gamma=1),
    "softmax-poly-1": softmax_poly_1,
    "label-smoothing": label_smoothing,
    "generalised-ce": generalised_ce,
    "symmetric-ce": symmetric_ce,
    "mae": mae,
    "taylor-ce": taylor_ce,
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


def smooth_l1(a: Box, b: Box, beta: Number = 1) -> mpf:
    apart = [abs(mpf(x) - y) for x, y in zip(a, b, strict=True)]
    return sum((d**2 / (2 * beta) if d < beta else d - beta / 2 for d in apart), mpf(0))


def alpha_iou(a: Box, b: Box, alpha: Number = 3) -> mpf:
    i, u, _ = areas(a, b)
    return 1 - (i / u) ** alpha


def _apart(a: Box, b: Box) -> list[mpf]:
    """Between the centres, along both axes."""
    return [(mpf(a[k]) + a[k + 2] - b[k] - b[k + 2]) / 2 for k in (0, 1)]


def _enclosing(a: Box, b: Box) -> list[mpf]:
    return [mpf(max(a[k + 2], b[k + 2])) - min(a[k], b[k]) for k in (0, 1)]


def eiou(a: Box, b: Box) -> mpf:
    unlike = [((mpf(a[k + 2]) - a[k]) - (mpf(b[k + 2]) - b[k])) ** 2 for k in (0, 1)]
    return diou(a, b) + sum(u / (c**2 + mpf(1e-7)) for u, c in zip(unlike, _enclosing(a, b), strict=True))


def siou(a: Box, b: Box, theta: Number = 4) -> mpf:
    apart, enclosing = _apart(a, b), _enclosing(a, b)
    line = sqrt(apart[0] ** 2 + apart[1] ** 2 + mpf(1e-7))
    # The paper's 1 − 2·sin²(arcsin x − π/4), but for the 1e-7.
    cosine = abs(apart[0]) / line
    angle = 2 * (abs(apart[1]) / line) * cosine
    distance = sum(
        1 - exp(-(2 - angle) * d**2 / (c**2 + mpf(1e-7))) for d, c in zip(apart, enclosing, strict=True)
    )
    shape = mpf(0)
    for k in (0, 1):
        own, wanted = mpf(a[k + 2]) - a[k], mpf(b[k + 2]) - b[k]
        shape += (1 - exp(-abs(own - wanted) / (max(own, wanted) + mpf(1e-7)))) ** theta
    return iou(a, b) + (distance + shape) / 2


def wiou_weight(a: Box, b: Box) -> mpf:
    return sum(c**2 for c in _enclosing(a, b)) + mpf(1e-7)


def wiou(a: Box, b: Box, weight: mpf | None = None) -> mpf:
    """`weight` is the enclosing box's squared diagonal, which is held constant in the gradient."""
    diagonal = wiou_weight(a, b) if weight is None else weight
    return exp(sum(d**2 for d in _apart(a, b)) / diagonal) * iou(a, b)


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
    "alpha-iou": alpha_iou,
    "eiou": eiou,
    "siou": siou,
    "wiou": wiou,
    "cse-autoloss-a-reg": a_reg,
    "cse-autoloss-b-reg": b_reg,
}

HELD: dict[str, tuple[Callable[[Box, Box], mpf], Callable[..., mpf]]] = {
    "ciou": (ciou_weight, ciou),
    "wiou": (wiou_weight, wiou),
}
"""Losses of boxes that hold something constant in the gradient: that, and the loss that takes it."""

# --- one sample of cosines: f(cosines, target)


def _margin(scale: int, f: Callable[..., mpf]) -> Callable[..., mpf]:
    def loss(cosines: Sequence[Number], target: int, **given: Number) -> mpf:
        own = exp(scale * f(mpf(cosines[target]), **given))
        others = sum(exp(scale * mpf(c)) for j, c in enumerate(cosines) if j != target)
        return -log(own / (own + others))

    return loss


def _psi(c: mpf, multiple: Number = 2, angle: Number = 0) -> mpf:
    """cos(mθ + a), kept falling from π on."""
    turned = multiple * acos(c) + angle
    k = floor(turned / pi)
    return (-1) ** int(k) * cos(turned) - 2 * k


def _sphere(c: mpf, mixing: Number = 5) -> mpf:
    return (mixing * c + _psi(c, 4)) / (mixing + 1)


def _combined(c: mpf, angle: Number = 0.3, margin: Number = 0.2) -> mpf:
    return _psi(c, 1, angle) - margin


MARGIN = {
    "l-softmax": _margin(30, _psi),
    "a-softmax": _margin(30, _sphere),
    "cosface": _margin(64, lambda c, margin=0.35: c - margin),
    "arcface": _margin(64, lambda c, margin=0.5: _psi(c, 1, margin)),
    "combined-margin": _margin(64, _combined),
}


# --- values and gradients of a whole sample


def sample(
    name: str, prediction: Sequence[float], target: int | Sequence[float], w: float | None = None
) -> tuple[list[mpf], list[mpf]]:
    """Values before the reduction and the gradient of their sum by the prediction, α weighting left out."""
    name, stated = name.partition("(")[::2]
    given = {
        k.strip(): mpf(v) for k, v in (part.split("=") for part in stated.rstrip(")").split(",") if part)
    }
    if name in BINARY:
        f = partial(BINARY[name], **given)
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
        whole = lambda p: MULTICLASS[name](p, target, weight, **given)  # noqa: E731
    elif name in HELD:
        held, loss = HELD[name]
        weight = held(prediction, target)
        whole = lambda p: loss(p, target, weight)  # noqa: E731
    elif name in BOXES:
        whole = lambda p: BOXES[name](p, target, **given)  # noqa: E731
    else:
        whole = lambda p: MARGIN[name](p, target, **given)  # noqa: E731

    def along(axis: int) -> mpf:
        return diff(lambda t: whole([*prediction[:axis], t, *prediction[axis + 1 :]]), prediction[axis])

    return [whole(prediction)], [along(axis) for axis in range(len(prediction))]
