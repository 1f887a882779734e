"""What trainings took: time, and the memory of the process that trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from cse_autoloss.runs import RunStore, Score


def peak_memory(device: Any) -> int:
    """Most bytes that this process has held so far: of the device where it is a GPU, else of the machine; 0 where the
    system does not tell."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def spent(store: RunStore) -> dict[str, Any]:
    """Of a run's trainings: what they were, how many, the median of their seconds, and the most bytes of a worker.

    Told are the audit's where it has any, else the search's; of models side by side it is an epoch of theirs.
    """
    for what, purpose in (("training", "audit"), ("training", "proxy"), ("epoch side by side", "epoch")):
        scores = store.scores(purpose, status="ok")
        known = [score for score in scores if "seconds_train" in score.extra or purpose == "epoch"]
        if known:
            return _told(what, known)
    return {}


def _told(what: str, known: Sequence[Score]) -> dict[str, Any]:
    return {
        "what": what,
        "trainings": len(known),
        "training_seconds": round(median(score.seconds for score in known), 3),
        "memory": max(int(score.extra.get("memory", 0)) for score in known),
    }


def spent_text(told: dict[str, Any]) -> str:
    """A line for people; empty where nothing is known."""
    if not told.get("trainings"):
        return ""
    memory = f", and at most {told['memory'] / 2**30:.2f} GiB of memory a worker" if told["memory"] else ""
    many = f", in the median of {told['trainings']}," if told["trainings"] > 1 else ""
    return f"One {told['what']} took{many} {told['training_seconds']:.3g} s{memory}."
