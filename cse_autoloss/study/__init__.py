"""A search for a loss around a training function of your own: ask and tell, or driven by us."""

from cse_autoloss.study.candidate import Candidate, Found
from cse_autoloss.study.study import Study

__all__ = ["Candidate", "Found", "Study"]
