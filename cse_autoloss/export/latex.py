"""A loss as LaTeX, with no more parentheses than it needs."""

from __future__ import annotations

from cse_autoloss.export.readable import readable
from cse_autoloss.graph import LossGraph
from cse_autoloss.graph.loss_graph import operator_of


def to_latex(graph: LossGraph, *, as_written: bool = False) -> str:
    r"""The loss in LaTeX's mathematics mode; matplotlib's mathtext takes it too.

    The ε inside Log and Div are left out, as papers do.

    Args:
        graph: the loss, as written or in stable form.
        as_written: keep each Neg where the formula has it, instead of tidying the signs.

    Returns:
        For example `-\left\langle y,\, \log\left(\operatorname{softmax}\left(x\right)\right) \right\rangle`.
    """
    shown = graph if as_written else readable(graph)
    # (text, how tightly it binds: 0 sum, 1 product, 2 atom)
    rendered: list[tuple[str, int]] = []
    for node in shown.nodes:
        operator = operator_of(node.symbol)
        if operator is None:
            variable = shown.signature.variables.get(node.symbol)
            rendered.append((variable.latex if variable else node.symbol, 2))
            continue
        texts = []
        for position, (arg, needed) in enumerate(zip(node.args, operator.latex_needs, strict=True)):
            text, level = rendered[arg]
            # A sign may open a sum but not follow another sign: 1 + (−x).
            bare = level >= needed and not (position and operator.latex_level < 2 and text.startswith("-"))
            texts.append(text if bare else rf"\left({text}\right)")
        rendered.append((operator.latex.format(*texts), operator.latex_level))
    return rendered[-1][0]
