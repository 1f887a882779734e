"""Certificates: properties of losses, proved over a stated domain by interval arithmetic and bisection."""

from cse_autoloss.certify.certificate import certificate_of, write_certificates
from cse_autoloss.certify.result import Certificate, Finding

__all__ = ["Certificate", "Finding", "certificate_of", "write_certificates"]
