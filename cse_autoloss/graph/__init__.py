"""Loss expressions as hash-consed DAGs: parse, print, hash, evaluate, stabilise."""

from cse_autoloss.graph.evaluate import compile_graph
from cse_autoloss.graph.loss_graph import GraphBuilder, LossGraph, Node, kind_of
from cse_autoloss.graph.parser import parse_formula
from cse_autoloss.graph.rewrite import stabilize
from cse_autoloss.graph.signature import Input, Kind, Signature, Value, Walk

__all__ = [
    "GraphBuilder",
    "Input",
    "Kind",
    "LossGraph",
    "Node",
    "Signature",
    "Value",
    "Walk",
    "compile_graph",
    "kind_of",
    "parse_formula",
    "stabilize",
]
