"""Findings in words: what a loss does wrong, where, and by how much."""

from __future__ import annotations

from cse_autoloss.verdict import Verdict
from cse_autoloss.verification.curves import Curve, ProbeGrid
from cse_autoloss.verification.judge import Fault, Findings

_TARGETS = {"cls-binary": "PY, NY or Q", "cls-multiclass": "Y"}
_IGNORED = {
    "positive": ("ignores-positives", "loss does not move with the true class's logit"),
    "negative": ("ignores-background", "loss does not move with a class's logit at background"),
    "other": ("ignores-other-classes", "loss does not move with the other classes' logits at a positive"),
    "background": ("ignores-background", "loss does not move with the background's logit at background"),
}
_BINARY_NEGATIVE = ("ignores-negatives", "loss does not move with the logit where y=0")


def accepted(branch: str, seconds: float) -> Verdict:
    """The verdict on a loss without fault."""
    if branch == "reg":
        reason = "falls along every motion onto the ground truth and is least where the boxes coincide"
    else:
        reason = "falls towards the right answer everywhere, and its gradient vanishes there"
    return Verdict("verify", True, reason, None, seconds)


def rejected(
    fault: Fault, figure: float, curve: int, first: int, last: int, grid: ProbeGrid, seconds: float
) -> Verdict:
    """The verdict on a loss with a fault found on a grid."""
    code, reason = _words(fault, figure, grid.curves[curve], _span(grid, curve, first, last), grid.branch)
    place = grid.curves[curve].place
    where = place if fault in _WHOLE_CURVE else f"{place}, {_span(grid, curve, first, last)}"
    return Verdict("verify", False, reason, figure, seconds, where, code)


def structural(fault: Fault, branch: str, seconds: float) -> Verdict:
    """The verdict on a formula that lacks a variable without which no loss can be right."""
    if fault is Fault.IGNORES_LOGIT:
        code, reason = "ignores-logit", "formula does not read X, so there is nothing to train"
    elif fault is Fault.IGNORES_TARGET:
        code, reason = (
            "ignores-target",
            f"formula reads none of {_TARGETS[branch]}, so it can't know the answer",
        )
        if branch == "cls-multiclass":
            reason = "formula does not read Y, so it can't know the answer"
    else:
        code, reason = "ignores-intersection", "formula needs I, and U or E, to see how boxes overlap"
    return Verdict("verify", False, reason, None, seconds, "formula", code)


def verdict_at(findings: Findings, row: int, grid: ProbeGrid, seconds: float) -> Verdict | None:
    """The verdict on candidate `row` of the findings, or None where nothing was found."""
    fault = Fault(int(findings.fault[row]))
    if fault is Fault.NONE:
        return None
    return rejected(
        fault, float(findings.figure[row]), int(findings.curve[row]), int(findings.first[row]),
        int(findings.last[row]), grid, seconds,
    )  # fmt: skip


_WHOLE_CURVE = frozenset(
    {Fault.CONSTANT, Fault.WRONG_DIRECTION, Fault.OSCILLATES, Fault.IGNORES_ROLE, Fault.IGNORES_TARGET}
)


def _span(grid: ProbeGrid, curve: int, first: int, last: int) -> str:
    name = grid.coordinate_name
    a, b = float(grid.coordinate[curve, first]), float(grid.coordinate[curve, last])
    digits = ".2f" if name == "i/u" else "g"
    text_a, text_b = format(a, digits), format(b, digits)
    return f"{name} = {text_a}" if text_a == text_b else f"between {name} = {text_a} and {text_b}"


def _words(fault: Fault, figure: float, curve: Curve, span: str, branch: str) -> tuple[str, str]:
    """Code and reason."""
    boxes = branch == "reg"
    what = {"positive": "the true class's logit", "background": "the background's logit"}.get(
        curve.role, "a logit"
    )
    if curve.role in ("negative", "other"):
        verb, code = "falls as", "falls-with-logit"
        moved = "a wrong class's logit rises"
        if branch == "cls-binary":
            moved = "the logit rises where y=0"
    else:
        verb, code = "rises with", "rises-with-logit"
        moved = what if branch == "cls-multiclass" else "the logit where y=1"
    if fault is Fault.NOT_FINITE:
        return "not-finite", f"loss or its gradient is not finite at {span}"
    if fault is Fault.CONSTANT:
        return "constant", "loss never moves: " + ("boxes" if boxes else "its gradient is 0 everywhere")
    if fault is Fault.IGNORES_TARGET:
        return "ignores-target", "loss is the same whether y is 1 or 0"
    if fault is Fault.WRONG_DIRECTION:
        if boxes:
            return (
                "rises-towards-target",
                f"loss rises as the boxes come together, in {figure:.0%} of all steps",
            )
        return code, f"loss {verb} {moved}, everywhere"
    if fault is Fault.OSCILLATES:
        return "oscillates", f"loss turns {figure:.0f} times between falling and rising as the logit moves"
    if fault is Fault.JUMPS:
        return "jumps", f"loss jumps the wrong way {span}: it has a pole or a step there"
    if fault is Fault.UNRESOLVED:
        return (
            "unresolved",
            f"loss changes too sharply ({span}): between neighbouring points its slope and its values disagree"
            f" {figure:.2g}-fold",
        )
    if fault is Fault.LEAST_ELSEWHERE:
        return "least-elsewhere", f"loss is least at {span}, not where the boxes coincide"
    if fault is Fault.RISES:
        if boxes:
            return "rises-towards-target", f"loss rises as the boxes come together {span}"
        return code, f"loss {verb} {moved} {span}, by {figure:.2g} of its largest slope"
    if fault is Fault.FLAT:
        return "flat-while-overlapping", f"loss does not fall while the boxes overlap, {span}"
    if fault is Fault.IGNORES_ROLE:
        if branch == "cls-binary" and curve.role == "negative":
            return _BINARY_NEGATIVE
        return _IGNORED[curve.role]
    if fault is Fault.DOES_NOT_VANISH:
        return (
            "gradient-does-not-vanish",
            f"gradient is still {figure:.2g} of its largest towards the right answer, {span}",
        )
    if fault is Fault.AIM_NOT_SINGLE:
        return "aim-not-single", f"for {curve.place} the loss has no single minimum: it turns {span}"
    return "aim-does-not-rise", f"the logit that the loss aims at does not rise with w, {curve.place}, {span}"
