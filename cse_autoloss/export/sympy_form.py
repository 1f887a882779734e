"""A loss in SymPy: simplified, as LaTeX, and checked to be the same loss."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import simplify_worker as worker
from cse_autoloss.export.domain import sample_domain
from cse_autoloss.export.exact_value import as_vectors, difference, expression_value, graph_value
from cse_autoloss.export.latex import small_parentheses
from cse_autoloss.export.readable import VISIBLE_EPSILON, least_value
from cse_autoloss.graph import Kind, LossGraph, Signature
from cse_autoloss.graph.loss_graph import operator_of
from cse_autoloss.operators import CONSTANTS, OPERATORS

SAME = 1e-7
"""Two forms are one loss where exact values differ by no more, relative to max(1, |value|): float32's rounding."""

_STARTUP_SECONDS = 60.0
_PLACES, _FEWEST_PLACES = 60, 6


@dataclass(frozen=True)
class Simplified:
    """A loss after simplification.

    Attributes:
        expression: SymPy expression in the signature's inputs; S-curves, Softmax and Dot are functions.
        text: the same as plain text.
        latex: the same as LaTeX.
        operations: (before, after) by SymPy's count.
        finished: False where the time was up; the expression is then the shortest form found until then.
        difference: largest relative difference of exact values from the formula, over `places`.
        places: how many places of the signature's domain were compared.
        keeps_epsilon: whether the ε of Log and Div had to stay, because it shows on the domain.
        seconds: time spent simplifying.
    """

    expression: sympy.Expr
    text: str
    latex: str
    operations: tuple[int, int]
    finished: bool
    difference: float
    places: int
    keeps_epsilon: bool
    seconds: float

    def __str__(self) -> str:
        before, after = self.operations
        notes = [f"{before} to {after} operations", f"differs by {self.difference:.1g}"]
        if not self.finished:
            notes.append(f"gave up after {self.seconds:.1f} s, the shortest form until then")
        if not self.agrees:
            notes.append("NOT the same loss: SymPy's algebra does not hold on its whole domain")
        return f"{self.text}   ({'; '.join(notes)})"

    @property
    def agrees(self) -> bool:
        """Whether the expression is the loss, to the rounding of float32, wherever it was compared.

        False where not even the formula written in SymPy is, for example where Exp's cut at 88 shows.
        """
        return self.difference <= SAME


def to_sympy(graph: LossGraph, *, epsilon: bool = False) -> sympy.Expr:
    """The loss as a SymPy expression, as written but for what SymPy tidies by itself.

    Args:
        graph: the loss. NY is written 1 − PY, Erfc 1 − Serf, σ(−a) 1 − σ(a), and the sum over the classes of what SymPy
            makes the same for all, as y + (1 − y), with the symbol `classes`, their number.
        epsilon: keep the ε of Log and Div as a symbol wherever it can show.
    """
    made: list[sympy.Expr] = []
    by_class = {
        worker.symbol(n) for n in graph.signature.variables if graph.signature.kind_of(n) is Kind.PER_CLASS
    }
    for node in graph.nodes:
        args = [made[a] for a in node.args]
        operator = operator_of(node.symbol)
        if node.symbol in CONSTANTS:
            made.append(sympy.Integer(int(node.symbol)))
        elif operator is None:
            other = graph.signature.variables[node.symbol].complement
            made.append(1 - worker.symbol(other) if other else worker.symbol(node.symbol))
        elif node.symbol == "Erfc":
            made.append(1 - _opaque("Serf", args))
        elif operator.shape == "sum" and not by_class & set().union(*(a.free_symbols for a in args)):
            summed = any(graph.kinds[a] is Kind.PER_CLASS for a in node.args)
            made.append((worker.symbol("classes") if summed else 1) * operator.to_sympy(sympy, *args))
        elif operator.opaque:
            made.append(_opaque(node.symbol, args))
        else:
            hidden = node.symbol == "Div" and least_value(graph, node.args[1]) >= VISIBLE_EPSILON
            kept = worker.symbol("epsilon") if epsilon and not hidden else sympy.Integer(0)
            made.append(operator.to_sympy(sympy, *args).xreplace({sympy.Symbol("epsilon"): kept}))
    return made[-1]


def simplify(graph: LossGraph, *, seconds: float = 2.0) -> Simplified:
    """Shorten a loss, and prove on the signature's domain that it is still the same.

    SymPy runs in a process of its own, which is killed when `seconds` have passed since it was ready;
    then the shortest form until then is taken. Each form is checked against the formula at 60 places to
    40 digits; of a formula of hundreds of nodes, for which the time would not do, at fewer. One that differs
    is not taken. ε = 1e-20 is dropped where that changes nothing there, else it stays as a symbol.

    Args:
        graph: the loss.
        seconds: time limit; what the start of the process takes longer than the rest (half a second) is not counted.

    Raises:
        AutoLossError: a limit that is not positive, or the process could not run.
    """
    if not seconds > 0:
        raise AutoLossError(f"expected a time limit above 0 seconds, got {seconds!r}")
    with _Worker() as process:
        begun = time.process_time()  # others' load is no reason for less
        judge = _Judge(graph, seconds / 4)
        start, keeps = to_sympy(graph), False
        apart = judge(start)
        if apart > SAME:
            start, keeps = to_sympy(graph, epsilon=True), True
            apart = judge(start)
        before, best = worker.operations(start), start
        spent = time.process_time() - begun
        kept = min(spent / 2, seconds / 4)  # to judge what comes back
        forms, finished, took = process.forms(start, max(seconds - spent - kept, seconds / 4))
    end = time.process_time() + seconds / 4
    for form in reversed(forms):
        found = judge(form, end)
        if found <= SAME:
            best, apart = form, found
            break
        if time.process_time() > end:
            finished = False
            break
    return Simplified(
        expression=best,
        text=_TextPrinter().doprint(best),
        latex=expression_latex(best, graph.signature),
        operations=(before, worker.operations(best)),
        finished=finished,
        difference=apart,
        places=judge.places,
        keeps_epsilon=keeps,
        seconds=took,
    )


def expression_latex(expression: sympy.Expr, signature: Signature) -> str:
    """LaTeX of a SymPy expression over a signature's inputs, in the notation of `to_latex`."""
    names = {worker.symbol(v.name): v.latex for v in signature.variables.values()}
    names |= {worker.symbol("epsilon"): r"\varepsilon", worker.symbol("classes"): "C"}
    return small_parentheses(_LatexPrinter({"symbol_names": names}).doprint(expression))


class _PositiveFirst:
    """Sums open with a term that has no minus: 1 − i/u."""

    def _as_ordered_terms(self, expression: Any, order: Any = None) -> list[Any]:
        terms = super()._as_ordered_terms(expression, order=order)  # type: ignore[misc]
        return sorted(terms, key=_is_negative)


class _TextPrinter(_PositiveFirst, StrPrinter):
    pass


class _LatexPrinter(_PositiveFirst, LatexPrinter):
    """SymPy's printer, with our operators in their own notation."""

    def _print_Function(self, expression: Any, exp: str | None = None) -> str:
        name = type(expression).__name__
        operator = OPERATORS.get(name) or OPERATORS.get(name.capitalize())
        if operator is None:
            return super()._print_Function(expression, exp)
        text = operator.latex.format(*(self._print(a) for a in expression.args))
        return text if exp is None else f"{text}^{{{exp}}}"

    _print_log = _print_Function


class _Judge:
    """How far a form is from the loss, at worst, over the signature's domain."""

    def __init__(self, graph: LossGraph, seconds: float) -> None:
        """Of a formula so long that the places would take more than `seconds` of processor time, fewer are taken."""
        inputs, end = sample_domain(graph.signature, _PLACES), time.process_time() + seconds
        self._rows, self._truth = [], []
        for number in range(_PLACES):
            if number >= _FEWEST_PLACES and time.process_time() > end:
                break
            self._rows.append(as_vectors(inputs, number))
            self._truth.append(graph_value(graph, self._rows[-1]))

    @property
    def places(self) -> int:
        """How many are compared."""
        return len(self._rows)

    def __call__(self, form: sympy.Expr, until: float = math.inf) -> float:
        """The distance; infinite where it is not known by `until`, of `time.process_time`."""
        worst = 0.0
        for row, truth in zip(self._rows, self._truth, strict=True):
            if time.process_time() > until:
                return math.inf
            worst = max(worst, difference(truth, expression_value(form, row)))
            if worst > SAME:
                break
        return worst


def _opaque(name: str, args: list[sympy.Expr]) -> sympy.Expr:
    if name == "Sig" and _is_negative(args[0]):
        return 1 - worker.opaque("Sig", -args[0])
    return worker.opaque(name, *args)


def _is_negative(term: sympy.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0].is_negative)


class _Worker:
    """The process that simplifies. It starts at once, while the formula is still written in SymPy here."""

    def __enter__(self) -> _Worker:
        # A fixed hash seed: SymPy's order of terms, and with it the answer, is the same in every run.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", str(Path(worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def forms(self, start: sympy.Expr, seconds: float) -> tuple[list[sympy.Expr], bool, float]:
        """Ever shorter forms of `start`, whether SymPy came to its end, and the seconds it took."""
        try:
            request = json.dumps(worker.encode(start))
        except worker.UnknownFormError:
            return [], True, 0.0
        told, answers = self._process.stdin, self._process.stdout
        assert told is not None
        assert answers is not None
        with _KilledAfter(self._process, _STARTUP_SECONDS):
            if answers.readline() != "ready\n":
                raise AutoLossError("the simplifying process did not start")
        forms: list[sympy.Expr] = []
        finished, begun = False, time.monotonic()
        with _KilledAfter(self._process, seconds), contextlib.suppress(BrokenPipeError):
            told.write(request + "\n")
            told.flush()
            for line in answers:
                finished = line == "done\n"
                # The last line may be cut off by the kill.
                if not finished and line.endswith("\n"):
                    forms.append(worker.decode(json.loads(line)))
        return forms, finished, time.monotonic() - begun


class _KilledAfter:
    """Kills the process if the body takes longer than the limit."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._timer = threading.Timer(seconds, process.kill)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
