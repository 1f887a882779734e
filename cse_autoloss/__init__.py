"""cse-autoloss: machines that discover loss functions."""

from cse_autoloss._version import __version__

__all__ = ["__version__"]
