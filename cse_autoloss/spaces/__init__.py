"""Signatures, which say what a loss is, and the spaces of losses that searches draw from."""

from cse_autoloss.spaces.boxes import REG, box_inputs
from cse_autoloss.spaces.form import Form
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS, binary_inputs, multiclass_inputs
from cse_autoloss.spaces.progress import plain_of
from cse_autoloss.spaces.signatures import SIGNATURES, parse, register_signature, signature_of
from cse_autoloss.spaces.walks import form_of

__all__ = [
    "CLS_BINARY",
    "CLS_MULTICLASS",
    "REG",
    "SIGNATURES",
    "Form",
    "binary_inputs",
    "box_inputs",
    "form_of",
    "multiclass_inputs",
    "parse",
    "plain_of",
    "register_signature",
    "signature_of",
]
