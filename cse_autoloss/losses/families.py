"""The families of the catalogue: losses with inner parameters, which the audit tunes for every contestant alike.

Those that the operators can state are formulas. Sources give the parameters' defaults.
"""

from __future__ import annotations

from functools import partial

from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.boxes import EIoULoss, SIoULoss, SmoothL1Loss, WIoULoss
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.losses.entry import Numbers, Point
from cse_autoloss.losses.family import Family, Parameter, number, power, times
from cse_autoloss.spaces import CLS_BINARY, CLS_MULTICLASS, REG

_ENTRIES = {entry.name: entry for entry in (*BINARY_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES)}

_PT, _P, _S = "Sig(Mul(Sub(PY,NY),X))", "Sig(X)", "Softmax(X)"
_GAMMA = Parameter(
    "gamma", 2, (0, 5), 0, 10, "how strongly easy samples are weighted down; 0 is cross-entropy"
)
_EPSILON = Parameter("epsilon", 1, (-1, 6), -1, 20, "weight of 1 − p; 0 is cross-entropy")
_MARGIN = Parameter("margin", 1, (0, 2), 0, 5, "taken off the logit of a positive")
_NEGATIVES = Parameter(
    "weight", 1, (0.05, 5), 0.001, 100, "λ, the weight of negatives", log=True, negatives=True
)
_QUALITY = Parameter("power", 1, (0, 3), 0, 4, "k, the power of the IoU that weights a positive")

_FOUND_IN = "parts of Li et al., NeurIPS 2020 (GFL), and Zhang et al., 2021 (Hill), put together"


def _focal(p: str, gamma: float) -> str:
    """(1 − p)^γ·log p."""
    return times(power(f"Sub(1,{p})", gamma), f"Log({p})")


def _quality_focal(beta: float) -> str:
    apart = f"Sub(Q,{_P})" if beta in (2, 4) else f"Abs(Sub(Q,{_P}))"
    entropy = f"Add(Mul(Sub(1,Q),Log(Sub(1,{_P}))),Mul(Q,Log({_P})))"
    return f"Neg({times(power(apart, beta), entropy)})"


def _varifocal(alpha: float, gamma: float) -> str:
    negative = times(power(_P, gamma), f"Log(Sub(1,{_P}))")
    return (
        f"Neg(Add(Mul(Q,Add(Mul(Q,Log({_P})),Mul(Sub(1,Q),Log(Sub(1,{_P}))))),"
        f"Mul(Mul(Sub(1,Div(Q,Q)),{number(alpha)}),{negative})))"
    )


def _asymmetric(gamma_pos: float, gamma_neg: float, margin: float) -> str:
    shifted = f"Relu(Sub({_P},{number(margin)}))" if margin else _P
    negative = times(power(shifted, gamma_neg), f"Log(Sub(1,{shifted}))")
    return f"Neg(Add(Mul(PY,{_focal(_P, gamma_pos)}),Mul(NY,{negative})))"


def _focal_margin(margin: float, gamma: float) -> str:
    return f"Mul(PY,{_focal(f'Sig(Sub(X,{number(margin)}))' if margin else _P, gamma)})"


def _hill_negative(weight: float) -> str:
    return f"Mul(NY,Mul(Mul({_P},{_P}),Sub({number(weight)},{_P})))"


def _splc(tau: float, margin: float, gamma: float) -> str:
    # Exactly 1 above the threshold, and without a slope, as Relu(a)/a is.
    above = f"Div(Relu(Sub({_P},{number(tau)})),Sub({_P},{number(tau)}))"
    missed, negative = _focal(_P, gamma), times(power(_P, gamma), f"Log(Sub(1,{_P}))")
    corrected = f"Add(Mul({above},{missed}),Mul(Sub(1,{above}),{negative}))"
    return f"Neg(Add({_focal_margin(margin, gamma)},Mul(NY,{corrected})))"


def _parts(negative: str, weight: float, exponent: float) -> str:
    positive = f"Mul(PY,{times(power('Q', exponent), f'Log({_P})')})"
    return f"Sub({times(number(weight), negative)},{positive})"


def _gce_parts(weight: float, k: float, g: float) -> str:
    positive = times(power("Q", k), f"Div(Sub(1,{power(_P, g)}),{number(g)})")
    return f"Add({times(number(weight), f'Mul(NY,Mul({_P},{_P}))')},Mul(PY,{positive}))"


def _label_smoothing(epsilon: float) -> str:
    classes = "Dot(Add(Y,Sub(1,Y)),1)"
    return f"Neg(Dot(Add(Mul({number(1 - epsilon)},Y),Div({number(epsilon)},{classes})),Log({_S})))"


def _taylor(order: float) -> str:
    rest = f"Sub(1,{_S})"
    total = f"Div(1,{number(order)})"
    for k in range(int(order) - 1, 0, -1):
        total = f"Add(Div(1,{number(k)}),Mul({rest},{total}))"
    return f"Dot(Y,Mul({rest},{total}))"


def _points(samples: tuple[Point, ...], *truth: Numbers) -> tuple[Point, ...]:
    """The samples with values and gradients in turn."""
    return tuple(
        Point(one.prediction, one.target, truth[2 * i], truth[2 * i + 1], one.iou)
        for i, one in enumerate(samples)
    )


_binary = partial(_points, _ENTRIES["bce"].points)
_multiclass = partial(_points, _ENTRIES["cross-entropy"].points)
_boxes = partial(_points, _ENTRIES["iou"].points)

_FALLS = frozenset({"non-negative", "monotone"})
_FALLS_WITH_IOU = _FALLS | {"iou-aware"}
_ANY_SIZE = _FALLS | {"scale-invariant"}

FAMILIES: tuple[Family, ...] = (
    Family(
        _ENTRIES["focal"], "focal loss (γ = {gamma:g})", (_GAMMA,),
        lambda gamma: f"Neg({_focal(_PT, gamma)})",
    ),
    Family(
        _ENTRIES["poly-1"], "poly-1 binary cross-entropy (ε = {epsilon:g})", (_EPSILON,),
        lambda epsilon: f"Add(Neg(Log({_PT})),{times(number(epsilon), f'Sub(1,{_PT})')})",
    ),
    Family(
        _ENTRIES["quality-focal"], "quality focal loss (β = {beta:g})",
        (Parameter("beta", 2, (0.5, 4), 0, 10, "how strongly what is nearly right is weighted down"),),
        _quality_focal,
    ),
    Family(
        _ENTRIES["varifocal"], "varifocal loss (α = {alpha:g}, γ = {gamma:g})",
        (
            Parameter("alpha", 0.75, (0.1, 3), 0.001, 10, "weight of negatives", log=True, negatives=True),
            Parameter("gamma", 2, (0, 5), 0, 10, "how strongly easy negatives are weighted down"),
        ),
        _varifocal,
    ),
    Family.of(
        "asymmetric", "asymmetric loss (γ+ = {gamma_pos:g}, γ− = {gamma_neg:g}, m = {margin:g})", CLS_BINARY,
        "Ridnik et al., ICCV 2021 (ASL)",
        (
            Parameter("gamma_neg", 4, (0, 6), 0, 10, "γ−, how strongly easy negatives are weighted down"),
            Parameter("margin", 0.05, (0, 0.3), 0, 0.9, "m, the probability below which negatives count nothing"),
            Parameter("gamma_pos", 0, (0, 3), 0, 10, "γ+, how strongly easy positives are weighted down"),
        ),
        _asymmetric, properties=_FALLS,
        points=_binary(
            (0.47407698418, 0.000567797517898), (-0.377540668798, 0.00261796793945),
            (0, 0.846414950692), (0, 0.723489934592),
        ),
    ),
    Family.of(
        "hill", "Hill loss (λ = {weight:g}, m = {margin:g}, γ = {gamma:g})", CLS_BINARY,
        "Zhang et al., 2021 (arXiv 2112.07368)",
        (
            _MARGIN, Parameter("gamma", 2, (0, 4), 0, 10, "how strongly easy positives are weighted down"),
            Parameter("weight", 1.5, (1, 3), 1, 10, "λ; from 1.5 on the loss rises with p everywhere"),
        ),
        lambda weight, margin, gamma: f"Sub({_hill_negative(weight)},{_focal_margin(margin, gamma)})",
        properties=_FALLS, note="On negatives (λ − p)·p², on positives focal loss of σ(x − m).",
        points=_binary(
            (0.377411600859, 0.0890418368485), (-0.526151821875, 0.115968756879),
            (0.00326714925831, 0.480379789517), (0.00612279175333, 0.0330709589277),
        ),
    ),
    Family.of(
        "splc", "SPLC loss (τ = {tau:g}, m = {margin:g}, γ = {gamma:g})", CLS_BINARY,
        "Zhang et al., 2021 (arXiv 2112.07368)",
        (
            Parameter("tau", 0.6, (0.4, 0.95), 0.05, 0.999, "τ: a negative of a larger p is a positive"),
            _MARGIN, Parameter("gamma", 2, (0, 4), 0, 10, "how strongly easy samples are weighted down"),
        ),
        _splc, properties=frozenset({"non-negative"}),
        note="A negative with p > τ counts as a positive from the start; the paper begins after an epoch.",
        points=_binary(
            (0.377411600859, 0.0226580575085), (-0.526151821875, 0.0525811299776),
            (0.000109283324497, 0.00180356283524), (0.000314871846488, -0.00487094019539),
        ),
    ),
    Family.of(
        "quality-square", "−qᵏ·log p on positives and λ·p² on negatives (k = {power:g}, λ = {weight:g})", CLS_BINARY,
        _FOUND_IN, (_NEGATIVES, _QUALITY),
        lambda weight, power: _parts(f"Mul(NY,Mul({_P},{_P}))", weight, power), properties=_FALLS_WITH_IOU,
        points=_binary(
            (0.331853888926, 0.0723294881285), (-0.264278468159, 0.105754185569),
            (0.00224921344665, 0.775803492574), (0.00428508506997, 0.18495608646),
        ),
    ),
    Family.of(
        "quality-hill", "−qᵏ·log p on positives and λ·Hill on negatives (k = {power:g}, λ = {weight:g})", CLS_BINARY,
        _FOUND_IN, (_NEGATIVES, _QUALITY),
        lambda weight, power: _parts(_hill_negative(1.5), weight, power), properties=_FALLS_WITH_IOU,
        points=_binary(
            (0.331853888926, 0.0890418368485), (-0.264278468159, 0.115968756879),
            (0.00326714925831, 0.480379789517), (0.00612279175333, 0.0330709589277),
        ),
    ),
    Family.of(
        "quality-gce",
        "qᵏ·(1 − pᵍ)/g on positives and λ·p² on negatives (k = {power:g}, g = {exponent:g}, λ = {weight:g})",
        CLS_BINARY, "parts of Zhang and Sabuncu, NeurIPS 2018, and Zhang et al., 2021 (Hill), put together",
        (
            Parameter("weight", 0.2, (0.05, 5), 0.001, 100, "λ, the weight of negatives", log=True, negatives=True),
            Parameter("power", 2, (0, 3), 0, 4, "k, the power of the IoU that weights a positive"),
            Parameter("exponent", 0.3, (0.1, 1), 0.01, 1, "g: towards 0 cross-entropy on positives"),
        ),
        lambda weight, power, exponent: _gce_parts(weight, power, exponent), properties=_FALLS_WITH_IOU,
        points=_binary(
            (0.216534730711, 0.0144658976257), (-0.160469727596, 0.0211508371137),
            (0.000449842689331, 0.155160698515), (0.000857017013994, 0.0369912172919),
        ),
    ),
    Family(
        _ENTRIES["softmax-focal"], "softmax focal loss (γ = {gamma:g})", (_GAMMA,),
        lambda gamma: f"Neg(Dot(Y,{_focal(_S, gamma)}))",
    ),
    Family(
        _ENTRIES["softmax-poly-1"], "poly-1 cross-entropy (ε = {epsilon:g})", (_EPSILON,),
        lambda epsilon: f"Dot(Y,Add(Neg(Log({_S})),{times(number(epsilon), f'Sub(1,{_S})')}))",
    ),
    Family.of(
        "label-smoothing", "cross-entropy with label smoothing (ε = {epsilon:g})", CLS_MULTICLASS,
        "Szegedy et al., CVPR 2016",
        (Parameter("epsilon", 0.1, (0, 0.5), 0, 0.99, "share of the target that all classes have alike"),),
        _label_smoothing, properties=frozenset({"non-negative", "convex"}), infimum=None,
        points=_multiclass(
            (0.752445519735,), (-0.43381560352, 0.0781241377169, 0.355691465803),
            (1.38820569852,), (0.656338752791, 0.0232783989071, -0.679617151698),
        ),
    ),
    Family.of(
        "generalised-ce", "generalised cross-entropy (q = {q:g})", CLS_MULTICLASS, "Zhang and Sabuncu, NeurIPS 2018",
        (Parameter("q", 0.7, (0.1, 1), 0.01, 1, "towards 0 cross-entropy, at 1 half of MAE"),),
        lambda q: f"Dot(Y,Div(Sub(1,{power(_S, q)}),{number(q)}))", properties=_FALLS,
        points=_multiclass(
            (0.549776392082,), (-0.307874934424, 0.068563790637, 0.239311143787),
            (0.88162388434,), (0.264050117682, 0.0216745535465, -0.285724671228),
        ),
    ),
    Family.of(
        "symmetric-ce", "symmetric cross-entropy (α = {alpha:g}, β = {beta:g}, A = −4)", CLS_MULTICLASS,
        "Wang et al., ICCV 2019",
        (
            Parameter("alpha", 0.1, (0.01, 10), 0, 100, "weight of cross-entropy", log=True),
            Parameter("beta", 1, (0.1, 10), 0.001, 100, "weight of the reverse, 4·(1 − p)", log=True),
        ),
        lambda alpha, beta: f"Dot(Y,Sub(Mul({number(4 * beta)},Sub(1,{_S})),Mul({number(alpha)},Log({_S}))))",
        properties=_FALLS,
        points=_multiclass(
            (2.07134029939,), (-1.05004729668, 0.233845678744, 0.816201617937),
            (3.12228917665,), (0.7688910817, 0.0631144233832, -0.832005505083),
        ),
    ),
    Family.of(
        "mae", "mean absolute error of the probabilities (2·(1 − p))", CLS_MULTICLASS, "Ghosh et al., AAAI 2017",
        (), lambda: f"Dot(Y,Mul(2,Sub(1,{_S})))", properties=_FALLS,
        points=_multiclass(
            (1.00096454037,), (-0.499999534831, 0.111349965819, 0.388649569011),
            (1.49256763673,), (0.349961936544, 0.0287266250796, -0.378688561623),
        ),
    ),
    Family.of(
        "taylor-ce", "Taylor cross-entropy (order {order:g})", CLS_MULTICLASS, "Feng et al., IJCAI 2020",
        (Parameter("order", 2, (1, 8), 1, 20, "terms of the series in 1 − p; many are cross-entropy", whole=True),),
        _taylor, properties=_FALLS,
        points=_multiclass(
            (0.625723521572,), (-0.375120218558, 0.083539324749, 0.291580893809),
            (1.02475358714,), (0.305566433415, 0.0250824202664, -0.330648853681),
        ),
    ),
    Family(
        _ENTRIES["smooth-l1"], "smooth L1 loss on the coordinates (β = {beta:g} pixel)",
        (Parameter("beta", 1, (0.05, 8), 0, 1000, "β in pixels: below it the loss is a square", log=True),),
        lambda beta: partial(SmoothL1Loss, beta=beta),
    ),
    Family.of(
        "alpha-iou", "α-IoU loss (1 − IoU^α, α = {alpha:g})", REG, "He et al., NeurIPS 2021",
        (Parameter("alpha", 3, (0.5, 5), 0.5, 10, "above 1, good boxes have the steeper slope"),),
        lambda alpha: f"Sub(1,{power('Div(I,U)', alpha)})", properties=_ANY_SIZE,
        points=_boxes(
            (0.864392226339,), (-0.0298585923384, -0.037323240423, -0.0471205910806, -0.0506529691988),
            (1,), (0, 0, 0, 0),
        ),
    ),
    Family.of(
        "eiou", "EIoU loss", REG, "Zhang et al., Neurocomputing 2022", (), lambda: EIoULoss, properties=_ANY_SIZE,
        points=_boxes(
            (0.563758601084,), (-0.0642519160249, -0.0144259728907, -0.0377012965477, -0.105674179295),
            (1.35884970627,), (0.00233410452892, 0.0443508167169, -0.0271493212547, -0.060207172467),
        ),
    ),
    Family.of(
        "siou", "SIoU loss (θ = {theta:g})", REG, "Gevorgyan, 2022 (arXiv 2205.12740)",
        (Parameter("theta", 4, (2, 6), 1, 10, "power of the cost of shape"),),
        lambda theta: partial(SIoULoss, theta=theta), properties=_ANY_SIZE,
        points=_boxes(
            (0.512581896711,), (-0.0391747058512, -0.0539992414785, -0.0616465564783, -0.0759743367411),
            (1.28306164011,), (0.00418605795967, 0.00711428747337, -0.02093028976, -0.0238533687095),
        ),
    ),
    Family.of(
        "wiou", "Wise-IoU v1 loss", REG, "Tong et al., 2023 (arXiv 2301.10051)", (), lambda: WIoULoss,
        properties=_ANY_SIZE, note="The enclosing box's diagonal is held constant in the gradient, as in the paper.",
        points=_boxes(
            (0.498076343421,), (-0.0413175774031, -0.0525892783492, -0.0636478133271, -0.0698327037955),
            (1.38512703168,), (-0.0376052587616, -0.0376052587616, -0.0376052587616, -0.0376052587616),
        ),
    ),
)  # fmt: skip
