"""Classification losses of the catalogue: binary (sigmoid heads) and multi-class (softmax heads).

In the binary formulas Mul(Sub(PY,NY),X) is the logit with the sign of its target, so that its sigmoid is p_t:
p where y = 1, 1 − p where y = 0.
"""

from __future__ import annotations

from cse_autoloss.losses.entry import Entry, Numbers, Point
from cse_autoloss.spaces import CLS_BINARY, CLS_MULTICLASS

_RELEASE = "Liu et al., ICLR 2021 (CSE-Autoloss)"
_PT = "Sig(Mul(Sub(PY,NY),X))"
_P = "Sig(X)"
_S = "Softmax(X)"


def _binary(value: Numbers, gradient: Numbers, value_2: Numbers, gradient_2: Numbers) -> tuple[Point, ...]:
    """Two samples of two classes: one positive of IoU 0.7, one background."""
    return (
        Point((0.5, -1.0), 0, value, gradient, iou=0.7),
        Point((-3.0, 2.0), 2, value_2, gradient_2),
    )


def _multiclass(
    value: Numbers, gradient: Numbers, value_2: Numbers, gradient_2: Numbers
) -> tuple[Point, ...]:
    """Two samples of two classes and background: one positive of IoU 0.7, one background."""
    return (
        Point((0.5, -1.0, 0.25), 0, value, gradient, iou=0.7),
        Point((2.0, -0.5, 1.0), 2, value_2, gradient_2),
    )


BINARY_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "bce", "binary cross-entropy", CLS_BINARY, "common",
        "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
        points=_binary(
            (0.47407698418, 0.313261687518), (-0.377540668798, 0.26894142137),
            (0.0485873515737, 2.12692801104), (0.0474258731776, 0.880797077978),
        ),
    ),
    Entry(
        "focal", "focal loss (γ = 2)", CLS_BINARY, "Lin et al., ICCV 2017",
        f"Neg(Mul(Mul(Sub(1,{_PT}),Sub(1,{_PT})),Log({_PT})))",
        properties=frozenset({"non-negative", "monotone"}),
        note="The paper weights it by α = 0.25: load_loss('focal', alpha=0.25).",
        points=_binary(
            (0.0675734905175, 0.0226580575085), (-0.137936997351, 0.0525811299776),
            (0.000109283324497, 1.65007817942), (0.000314871846488, 1.07671373045),
        ),
    ),
    Entry(
        "focal-1", "focal loss (γ = 1)", CLS_BINARY, "Lin et al., ICCV 2017",
        f"Neg(Mul(Sub(1,{_PT}),Log({_PT})))",
        properties=frozenset({"non-negative", "monotone"}),
        points=_binary(
            (0.178983341669, 0.0842490435019), (-0.253946807748, 0.133920474122),
            (0.00230429757377, 1.8733919772), (0.00444422769593, 0.999117290349),
        ),
    ),
    Entry(
        "poly-1", "poly-1 binary cross-entropy (ε = 1)", CLS_BINARY, "Leng et al., ICLR 2022 (PolyLoss)",
        f"Add(Neg(Log({_PT})),Sub(1,{_PT}))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
        points=_binary(
            (0.851617652978, 0.582203108888), (-0.612544381, 0.465553354611),
            (0.0960132247513, 3.00772508902), (0.0926025329085, 0.985790663381),
        ),
    ),
    Entry(
        "quality-focal", "quality focal loss (β = 2)", CLS_BINARY, "Li et al., NeurIPS 2020 (GFL)",
        f"Neg(Mul(Mul(Sub(Q,{_P}),Sub(Q,{_P})),Add(Mul(Sub(1,Q),Log(Sub(1,{_P}))),Mul(Q,Log({_P})))))",
        properties=frozenset({"non-negative", "iou-aware", "aims-at-iou"}),
        points=_binary(
            (0.00375229738986, 0.0226580575085), (-0.0232105098028, 0.0525811299776),
            (0.000109283324497, 1.65007817942), (0.000314871846488, 1.07671373045),
        ),
    ),
    Entry(
        "varifocal", "varifocal loss (α = 0.75, γ = 2)", CLS_BINARY, "Zhang et al., CVPR 2021 (VFNet)",
        f"Neg(Add(Mul(Q,Add(Mul(Q,Log({_P})),Mul(Sub(1,Q),Log(Sub(1,{_P}))))),"
        f"Mul(Mul(Sub(1,Div(Q,Q)),Div(3,Add(2,2))),Mul(Mul({_P},{_P}),Log(Sub(1,{_P}))))))",
        properties=frozenset({"non-negative", "iou-aware", "aims-at-iou"}),
        note="1 − q/q is 1 where q = 0, else 0, and 3/(2 + 2) is α: the paper's two cases in one expression.",
        points=_binary(
            (0.436853888926, 0.0169935431314), (-0.0542784681587, 0.0394358474832),
            (8.19624933727e-05, 1.23755863457), (0.000236153884866, 0.807535297836),
        ),
    ),
    Entry(
        "cse-autoloss-b-cls", "CSE-Autoloss-B's classification loss", CLS_BINARY, _RELEASE,
        "Neg(Add(Mul(Q,Mul(Add(1,Serf(Sig(NY))),Log(Sig(X)))),Mul(Add(Sgdf(X),Neg(Q)),"
        "Mul(Add(Add(1,Neg(Q)),Neg(Add(1,Neg(Sig(X))))),Log(Add(1,Neg(Sig(X))))))))",
        alpha=0.25, properties=frozenset({"non-negative", "iou-aware", "aims-at-iou"}),
        points=_binary(
            (0.544492205432, 0.0229438705556), (-0.460541941587, 0.0523718220459),
            (0.000138624818413, 1.62894825799), (0.000375590085305, 1.05540449966),
        ),
    ),
)  # fmt: skip

MULTICLASS_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "cross-entropy", "cross-entropy", CLS_MULTICLASS, "common",
        f"Neg(Dot(Y,Log({_S})))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
        points=_multiclass(
            (0.694112186402,), (-0.500482270187, 0.11145747105, 0.389024799137),
            (1.37153903185,), (0.689672086125, 0.0566117322405, -0.746283818365),
        ),
    ),
    Entry(
        "softmax-focal", "softmax focal loss (γ = 2)", CLS_MULTICLASS, "Lin et al., ICCV 2017",
        f"Neg(Dot(Y,Mul(Mul(Sub(1,{_S}),Sub(1,{_S})),Log({_S}))))",
        properties=frozenset({"non-negative", "monotone"}),
        points=_multiclass(
            (0.173862957654,), (-0.299057311441, 0.0666001047746, 0.232457206666),
            (0.763864314136,), (0.742311777582, 0.0609326612414, -0.803244438824),
        ),
    ),
    Entry(
        "softmax-focal-1", "softmax focal loss (γ = 1)", CLS_MULTICLASS, "Lin et al., ICCV 2017",
        f"Neg(Dot(Y,Mul(Sub(1,{_S}),Log({_S}))))",
        properties=frozenset({"non-negative", "monotone"}),
        points=_multiclass(
            (0.347390842815,), (-0.424010387932, 0.0944271722558, 0.329583215676),
            (1.02355738573,), (0.754684345669, 0.0619482634757, -0.816632609145),
        ),
    ),
    Entry(
        "softmax-poly-1", "poly-1 cross-entropy (ε = 1)", CLS_MULTICLASS,
        "Leng et al., ICLR 2022 (PolyLoss)",
        f"Dot(Y,Add(Neg(Log({_S})),Sub(1,{_S})))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
        points=_multiclass(
            (1.19459445659,), (-0.750482037602, 0.16713245396, 0.583349583642),
            (2.11782285022,), (0.864653054396, 0.0709750447803, -0.935628099177),
        ),
    ),
    Entry(
        "cse-autoloss-a-cls", "CSE-Autoloss-A's classification loss", CLS_MULTICLASS, _RELEASE,
        "Neg(Dot(Mul(Y,Add(1,Sin(Z))),Log(Softmax(X))))",
        properties=frozenset({"non-negative", "monotone", "convex", "iou-aware"}),
        points=_multiclass(
            (1.14127153381,), (-0.82290180079, 0.183260345276, 0.639641455514),
            (2.52564933169,), (1.27001113563, 0.104248862321, -1.37425999795),
        ),
    ),
)  # fmt: skip
