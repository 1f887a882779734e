"""The signatures by name: the three of object detection, that of regression, and those that users register."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.graph import Input, LossGraph, Signature, Walk, parse_formula
from cse_autoloss.spaces.boxes import REG
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS
from cse_autoloss.spaces.progress import BY_PROGRESS
from cse_autoloss.spaces.wide import BY_WIDE, fitting

REGRESSION = Signature(
    "regression",
    [Input("R", meaning="prediction − target, in deviations of the targets")],
    default="Mul(R,R)",
    walks=[Walk("R", start=start, end=0.0, may_rest=True) for start in (-10.0, 10.0)],
)
"""One residual a sample. The loss may rest far away, as robust ones do, and need not be even."""

BUILT_IN = (CLS_BINARY, CLS_MULTICLASS, REG)

PACKAGED = (*BUILT_IN, *BY_PROGRESS.values(), *BY_WIDE.values())
"""Those that every installation knows by name."""

_registered: dict[str, Signature] = {one.name: one for one in (*PACKAGED, REGRESSION)}

SIGNATURES: Mapping[str, Signature] = MappingProxyType(_registered)
"""The signatures by name."""


def register_signature(signature: Signature) -> Signature:
    """Make a signature known by its name; the same one twice is fine, another of that name a ConfigError."""
    if _registered.setdefault(signature.name, signature) != signature:
        raise ConfigError(f"signature {signature.name!r}: another one has that name; choose another")
    return signature


def signature_of(signature: str | Signature) -> Signature:
    """The signature of that name, or itself; UnknownNameError offers the nearest name."""
    if isinstance(signature, Signature):
        return signature
    if not isinstance(signature, str) or signature not in _registered:
        raise UnknownNameError.of("signature", str(signature), _registered)
    return _registered[signature]


def takes(wanted: Signature, name: str) -> bool:
    """Whether a slot of a signature takes losses of the one of that name: its own, or those that read less."""
    return name in [one.name for one in fitting(wanted)]


def stated(signature: Signature) -> Any:
    """A signature as plain values: its name, or the whole of one that has none here."""
    return signature.name if _registered.get(signature.name) == signature else signature.to_dict()


def signature_from(told: Any) -> Signature:
    """The inverse of `stated`."""
    return signature_of(told) if isinstance(told, str) else Signature.from_dict(told)


def parse(formula: str, signature: str | Signature = CLS_BINARY) -> LossGraph:
    """Parse a loss in prefix notation.

    Args:
        formula: for example `Neg(Dot(Y,Log(Softmax(X))))`.
        signature: a name ("cls-binary", "cls-multiclass", "reg", or a registered one), or the signature itself.

    Raises:
        FormulaError: with the position and what was expected there.
        UnknownNameError: no such signature.
    """
    return parse_formula(formula, signature_of(signature))
