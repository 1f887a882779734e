"""Runs: the store in which a search keeps everything it knows, and from which it resumes and reports."""

from cse_autoloss.runs.database import holds_run
from cse_autoloss.runs.links import refuse_links
from cse_autoloss.runs.records import Candidate, Event, Proposed, Rejected, Score, job_key
from cse_autoloss.runs.store import RunStore
from cse_autoloss.runs.whole_file import is_whole, write_whole

__all__ = [
    "Candidate",
    "Event",
    "Proposed",
    "Rejected",
    "RunStore",
    "Score",
    "holds_run",
    "is_whole",
    "job_key",
    "refuse_links",
    "write_whole",
]
