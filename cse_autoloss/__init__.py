"""cse-autoloss: machines that discover loss functions.

The public names are imported at their first use, so that `import cse_autoloss` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cse_autoloss._version import __version__

if TYPE_CHECKING:
    from cse_autoloss.api import RunResult, evolve, load_loss, parse, verify
    from cse_autoloss.compare.run import compare_losses
    from cse_autoloss.errors import AutoLossError
    from cse_autoloss.filter_audit import audit_filters
    from cse_autoloss.graph import Input, LossGraph, Signature, Walk
    from cse_autoloss.spaces import register_signature
    from cse_autoloss.verdict import Verdict

__all__ = [
    "AutoLossError",
    "Input",
    "LossGraph",
    "RunResult",
    "Signature",
    "Verdict",
    "Walk",
    "__version__",
    "audit_filters",
    "compare_losses",
    "evolve",
    "load_loss",
    "parse",
    "register_signature",
    "verify",
]

_HOME = {
    "AutoLossError": "cse_autoloss.errors",
    "Input": "cse_autoloss.graph",
    "LossGraph": "cse_autoloss.graph",
    "RunResult": "cse_autoloss.api",
    "Signature": "cse_autoloss.graph",
    "Verdict": "cse_autoloss.verdict",
    "Walk": "cse_autoloss.graph",
    "audit_filters": "cse_autoloss.filter_audit",
    "compare_losses": "cse_autoloss.compare.run",
    "evolve": "cse_autoloss.api",
    "load_loss": "cse_autoloss.api",
    "parse": "cse_autoloss.api",
    "register_signature": "cse_autoloss.spaces",
    "verify": "cse_autoloss.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cse_autoloss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
