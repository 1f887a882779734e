"""What the filters cost: how many of the losses that they threw away would have been good."""

from cse_autoloss.filter_audit.estimate import Draw, Rate, rate
from cse_autoloss.filter_audit.run import FilterAuditOptions, audit_filters

__all__ = ["Draw", "FilterAuditOptions", "Rate", "audit_filters", "rate"]
