"""Certificates: properties of losses, proved over a stated domain by interval arithmetic and bisection."""

from cse_autoloss.certify.certificate import QUICK, certificate_of, write_certificates
from cse_autoloss.certify.equal import same_function
from cse_autoloss.certify.result import Certificate, Finding

__all__ = ["QUICK", "Certificate", "Finding", "certificate_of", "same_function", "write_certificates"]
