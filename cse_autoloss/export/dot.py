"""A loss's computation graph in Graphviz's DOT language, for those who have it."""

from __future__ import annotations

import json

from cse_autoloss.export.picture import Picture

_SHAPES = {
    "variable": 'shape=box, style="rounded,filled", fillcolor="#0072B2", color="#0072B2", fontcolor=white',
    "constant": 'shape=circle, style=filled, fillcolor="#EEF1F4", color="#9AA5B1", margin=0.02',
    "operator": 'shape=ellipse, style=filled, fillcolor="#FFF3DC", color="#E69F00"',
    "loss": 'shape=box, style="rounded,filled", fillcolor="#00795B", color="#00795B", fontcolor=white',
}


def to_dot(pictures: list[tuple[str, Picture]]) -> str:
    """DOT text; a picture with a heading becomes a cluster. Operands of Sub and Div are labelled a and b."""
    lines = ["digraph loss {", "  rankdir=LR;", '  node [fontname="Helvetica", fontsize=12];']
    lines.append('  edge [color="#8592A0", fontcolor="#B35900", fontsize=9];')
    for number, (heading, shown) in enumerate(pictures):
        indent = "  "
        if heading:
            lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(heading)};"]
            indent = "    "
        for index, node in enumerate(shown.nodes):
            lines.append(f"{indent}g{number}n{index} [label={_quoted(node.name)}, {_SHAPES[node.role]}];")
        for edge in shown.edges:
            label = f' [label="{"ab"[edge.position]}"]' if shown.nodes[edge.target].ordered else ""
            lines.append(f"{indent}g{number}n{edge.source} -> g{number}n{edge.target}{label};")
        if heading:
            lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
