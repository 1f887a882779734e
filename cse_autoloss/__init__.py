"""cse-autoloss: machines that discover loss functions.

The public names are imported at their first use, so that `import cse_autoloss` costs next to nothing. Each command
of the command line is one of these functions; where a folder has a command's plain name, the function's is longer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cse_autoloss._version import __version__

if TYPE_CHECKING:
    from cse_autoloss.api.begin import init_config
    from cse_autoloss.api.data import DataReport, inspect_data
    from cse_autoloss.api.files import certify_loss, explain_loss, export_loss, render_loss
    from cse_autoloss.api.formulas import simulate, verify
    from cse_autoloss.api.listing import list_runs
    from cse_autoloss.api.runs import RunResult, evolve, reinforce_loss, report_run
    from cse_autoloss.certify import Certificate
    from cse_autoloss.compare.run import compare_losses
    from cse_autoloss.discovery.plan import plan_run
    from cse_autoloss.errors import AutoLossError
    from cse_autoloss.filter_audit import FilterAuditOptions, audit_filters
    from cse_autoloss.fullsize.launch import train_detector
    from cse_autoloss.graph import Input, LossGraph, Signature, Walk
    from cse_autoloss.losses import find_alike, list_losses, load_loss
    from cse_autoloss.predict import predict_images
    from cse_autoloss.settings.fields import Section
    from cse_autoloss.spaces import parse, register_signature
    from cse_autoloss.study import Study
    from cse_autoloss.tasks.protocol import Metric, Task, TaskScore, Tunable
    from cse_autoloss.verdict import Verdict

__all__ = [
    "AutoLossError",
    "Certificate",
    "DataReport",
    "FilterAuditOptions",
    "Input",
    "LossGraph",
    "Metric",
    "RunResult",
    "Section",
    "Signature",
    "Study",
    "Task",
    "TaskScore",
    "Tunable",
    "Verdict",
    "Walk",
    "__version__",
    "audit_filters",
    "certify_loss",
    "compare_losses",
    "evolve",
    "explain_loss",
    "export_loss",
    "find_alike",
    "init_config",
    "inspect_data",
    "list_losses",
    "list_runs",
    "load_loss",
    "parse",
    "plan_run",
    "predict_images",
    "register_signature",
    "reinforce_loss",
    "render_loss",
    "report_run",
    "simulate",
    "train_detector",
    "verify",
]

_HOME = {
    "AutoLossError": "cse_autoloss.errors",
    "Certificate": "cse_autoloss.certify",
    "DataReport": "cse_autoloss.api.data",
    "FilterAuditOptions": "cse_autoloss.filter_audit",
    "Input": "cse_autoloss.graph",
    "LossGraph": "cse_autoloss.graph",
    "Metric": "cse_autoloss.tasks.protocol",
    "RunResult": "cse_autoloss.api.runs",
    "Section": "cse_autoloss.settings.fields",
    "Signature": "cse_autoloss.graph",
    "Study": "cse_autoloss.study",
    "Task": "cse_autoloss.tasks.protocol",
    "TaskScore": "cse_autoloss.tasks.protocol",
    "Tunable": "cse_autoloss.tasks.protocol",
    "Verdict": "cse_autoloss.verdict",
    "Walk": "cse_autoloss.graph",
    "audit_filters": "cse_autoloss.filter_audit",
    "certify_loss": "cse_autoloss.api.files",
    "compare_losses": "cse_autoloss.compare.run",
    "evolve": "cse_autoloss.api.runs",
    "explain_loss": "cse_autoloss.api.files",
    "export_loss": "cse_autoloss.api.files",
    "find_alike": "cse_autoloss.losses",
    "init_config": "cse_autoloss.api.begin",
    "inspect_data": "cse_autoloss.api.data",
    "list_losses": "cse_autoloss.losses",
    "list_runs": "cse_autoloss.api.listing",
    "load_loss": "cse_autoloss.losses",
    "parse": "cse_autoloss.spaces",
    "plan_run": "cse_autoloss.discovery.plan",
    "predict_images": "cse_autoloss.predict",
    "register_signature": "cse_autoloss.spaces",
    "reinforce_loss": "cse_autoloss.api.runs",
    "render_loss": "cse_autoloss.api.files",
    "report_run": "cse_autoloss.api.runs",
    "simulate": "cse_autoloss.api.formulas",
    "train_detector": "cse_autoloss.fullsize.launch",
    "verify": "cse_autoloss.api.formulas",
}
"""Name -> module."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cse_autoloss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
