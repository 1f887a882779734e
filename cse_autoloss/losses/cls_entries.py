"""Classification losses of the catalogue: binary (sigmoid heads) and multi-class (softmax heads).

In the binary formulas Mul(Sub(PY,NY),X) is the logit with the sign of its target, so that its sigmoid is p_t:
p where y = 1, 1 − p where y = 0.
"""

from __future__ import annotations

from cse_autoloss.losses.entry import Entry

_RELEASE = "Liu et al., ICLR 2021 (CSE-Autoloss)"
_PT = "Sig(Mul(Sub(PY,NY),X))"
_P = "Sig(X)"
_S = "Softmax(X)"

BINARY_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "bce", "Binary cross-entropy", "cls-binary", "common",
        "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
    ),
    Entry(
        "focal", "Focal loss, γ = 2", "cls-binary", "Lin et al., ICCV 2017",
        f"Neg(Mul(Mul(Sub(1,{_PT}),Sub(1,{_PT})),Log({_PT})))",
        properties=frozenset({"non-negative", "monotone"}),
        note="The paper weights it by α = 0.25: load_loss('focal', alpha=0.25).",
    ),
    Entry(
        "focal-1", "Focal loss, γ = 1", "cls-binary", "Lin et al., ICCV 2017",
        f"Neg(Mul(Sub(1,{_PT}),Log({_PT})))",
        properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "poly-1", "Poly-1 cross-entropy, ε = 1", "cls-binary", "Leng et al., ICLR 2022 (PolyLoss)",
        f"Add(Neg(Log({_PT})),Sub(1,{_PT}))",
        properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "quality-focal", "Quality focal loss, β = 2", "cls-binary", "Li et al., NeurIPS 2020 (GFL)",
        f"Neg(Mul(Mul(Sub(Q,{_P}),Sub(Q,{_P})),Add(Mul(Sub(1,Q),Log(Sub(1,{_P}))),Mul(Q,Log({_P})))))",
        properties=frozenset({"non-negative", "iou-aware", "aims-at-iou"}),
    ),
    Entry(
        "varifocal", "Varifocal loss, α = 0.75, γ = 2", "cls-binary", "Zhang et al., CVPR 2021 (VFNet)",
        f"Neg(Add(Mul(Q,Add(Mul(Q,Log({_P})),Mul(Sub(1,Q),Log(Sub(1,{_P}))))),"
        f"Mul(Mul(Sub(1,Div(Q,Q)),Div(3,Add(2,2))),Mul(Mul({_P},{_P}),Log(Sub(1,{_P}))))))",
        properties=frozenset({"non-negative", "iou-aware", "aims-at-iou"}),
        note="1 − q/q is 1 where q = 0, else 0, and 3/(2 + 2) is α: the paper's two cases in one expression.",
    ),
    Entry(
        "cse-autoloss-b-cls", "CSE-Autoloss-B, classification branch", "cls-binary", _RELEASE,
        "Neg(Add(Mul(Q,Mul(Add(1,Serf(Sig(NY))),Log(Sig(X)))),Mul(Add(Sgdf(X),Neg(Q)),"
        "Mul(Add(Add(1,Neg(Q)),Neg(Add(1,Neg(Sig(X))))),Log(Add(1,Neg(Sig(X))))))))",
        alpha=0.25, properties=frozenset({"iou-aware", "aims-at-iou"}),
    ),
)  # fmt: skip

MULTICLASS_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "cross-entropy", "Cross-entropy", "cls-multiclass", "common",
        f"Neg(Dot(Y,Log({_S})))",
        properties=frozenset({"non-negative", "monotone", "convex"}),
    ),
    Entry(
        "softmax-focal", "Focal loss over softmax, γ = 2", "cls-multiclass", "Lin et al., ICCV 2017",
        f"Neg(Dot(Y,Mul(Mul(Sub(1,{_S}),Sub(1,{_S})),Log({_S}))))",
        properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "softmax-focal-1", "Focal loss over softmax, γ = 1", "cls-multiclass", "Lin et al., ICCV 2017",
        f"Neg(Dot(Y,Mul(Sub(1,{_S}),Log({_S}))))",
        properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "softmax-poly-1", "Poly-1 cross-entropy over softmax, ε = 1", "cls-multiclass",
        "Leng et al., ICLR 2022 (PolyLoss)",
        f"Dot(Y,Add(Neg(Log({_S})),Sub(1,{_S})))",
        properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "cse-autoloss-a-cls", "CSE-Autoloss-A, classification branch", "cls-multiclass", _RELEASE,
        "Neg(Dot(Mul(Y,Add(1,Sin(Z))),Log(Softmax(X))))",
        properties=frozenset({"non-negative", "monotone", "convex", "iou-aware"}),
    ),
)  # fmt: skip
