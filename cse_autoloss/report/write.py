"""What a run leaves behind: summary.json, best/ with the loss in every form, and the table on the screen.

A report is a function of the store and of what the audit found; it can be written again at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cse_autoloss._version import __version__
from cse_autoloss.bench.audit import AuditResult
from cse_autoloss.bench.jobs import LossPair
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.export import draw, draw_pair, to_json, to_json_pair, torch_source, torch_source_pair
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses import load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.runs.store import RunStore
from cse_autoloss.searches.evolution import EvolutionState, ranked
from cse_autoloss.spaces import form_of
from cse_autoloss.tasks.faults import AnnotationFaults

HALL_OF_FAME = 20
"""Members of each population that the summary lists."""


def write_report(
    store: RunStore,
    status: RunStatus,
    clock: Clock,
    state: EvolutionState,
    pairs: Sequence[tuple[LossPair, float]],
    audit: AuditResult | None,
    notes: Sequence[str],
    branches: Sequence[str],
    workers: int = 1,
) -> dict[str, Any]:
    """Write summary.json and best/ into the run directory.

    Args:
        store: of the run.
        status: counts of the funnel.
        clock: seconds of the stages.
        state: of the search.
        pairs: the discovered pairs, best validation AP first, with that AP.
        audit: None where it was not reached.
        notes: what was shrunk.
        branches: that were searched.
        workers: trainings side by side.

    Returns:
        The summary.
    """
    best = _best(pairs, audit, branches)
    found = audit.to_dict() if audit else {"baselines": [], "winners": [], "verdict": _unaudited(best, store)}
    summary: dict[str, Any] = {
        "version": __version__,
        "status": store.status,
        "seed": store.config.get("seed"),
        "generations": state.generation,
        "funnel": {
            name: int(status.funnel.get(name, 0))
            for name in ("generated", "duplicates", "verified", "simulated", "trained")
        },
        "rejected": {stage: dict(codes.most_common()) for stage, codes in status.rejected.items()},
        "seconds": {**{k: round(v, 2) for k, v in clock.seconds.items()}, "total": round(clock.elapsed, 2)},
        "overhead": round(clock.overhead, 4),
        "utilisation": clock.utilisation(workers),
        "baselines": found["baselines"],
        "winners": found["winners"],
        "best": best,
        "noise_floor": found.get("noise_floor"),
        "verdict": found["verdict"],
        "notes": [*notes, *found.get("notes", [])],
        "hall_of_fame": {
            branch: [
                {
                    "formula": m.formula,
                    "val_ap": m.fitness,
                    "seeds": len(m.scores),
                    "name": m.name,
                    "origin": m.origin,
                }
                for m in ranked(members)[:HALL_OF_FAME]
            ]
            for branch, members in state.populations.items()
        },
    }
    summary = _finite(summary)
    if best is not None:
        write_best(store.directory / "best", best, branches, provenance(store, summary))
    _write_atomically(
        store.directory / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    )
    store.set_meta("summary", summary)
    return summary


def write_best(
    directory: Path, best: Mapping[str, Any], branches: Sequence[str], provenance: Mapping[str, Any]
) -> None:
    """Write loss.py, loss.json, graph.svg, graph.png and graph.dot of the discovered loss."""
    directory.mkdir(parents=True, exist_ok=True)
    cls_branch = next((branch for branch in branches if branch != "reg"), "cls-binary")
    # Where the boxes alone were searched, the other loss is a catalogue's, and nobody asks for its graph.
    cls = _graph(best["cls"], cls_branch) if cls_branch in branches else None
    reg = _graph(best["reg"], "reg")
    alpha = best["alpha"]
    searched = [g for g, b in ((cls, cls_branch), (reg, "reg")) if b in branches and g is not None]
    if cls is not None and reg is not None and len(branches) == 2:
        source = torch_source_pair(cls, reg, alpha=alpha, provenance=provenance)
        document = to_json_pair(cls, reg, alpha, provenance)
        for suffix in ("svg", "png", "dot"):
            draw_pair(cls, reg, directory / f"graph.{suffix}")
    else:
        graph = searched[0]
        own_alpha = alpha if form_of(graph.signature).weighted else None
        source = torch_source(graph, alpha=own_alpha, provenance=provenance)
        document = to_json(graph, own_alpha, provenance)
        for suffix in ("svg", "png", "dot"):
            draw(graph, directory / f"graph.{suffix}")
    _write_atomically(directory / "loss.py", source)
    _write_atomically(directory / "loss.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _best(
    pairs: Sequence[tuple[LossPair, float]], audit: AuditResult | None, branches: Sequence[str]
) -> dict[str, Any] | None:
    if audit is not None and audit.best is not None:
        one = audit.best
        return {
            "cls": one.pair.cls,
            "reg": one.pair.reg,
            "alpha": one.pair.alpha,
            "box_weight": one.pair.box_weight,
            "lr": one.pair.lr,
            "val_ap": one.val_ap,
            "test_ap": audit.interval(one).to_dict() if one.test else None,
            "gain": {"over": audit.rival.name, **audit.gain.to_dict()}
            if audit.rival and audit.gain
            else None,
        }
    if not pairs:
        return None
    pair, val_ap = pairs[0]
    return {
        "cls": pair.cls,
        "reg": pair.reg,
        "alpha": pair.alpha,
        "box_weight": pair.box_weight,
        "lr": pair.lr,
        "val_ap": val_ap,
        "test_ap": None,
        "gain": None,
    }


def _unaudited(best: Mapping[str, Any] | None, store: RunStore) -> str:
    if store.status == "interrupted":
        found = "and nothing is claimed about test data" if best is not None else "and no loss was found yet"
        return f"Interrupted before the audit, {found}. Go on with: cse-autoloss evolve --resume {store.directory}"
    if best is None:
        return "The search found no loss that passed every stage."
    return "The audit was not reached, so nothing is claimed about test data."


def _graph(text: str, branch: str) -> LossGraph | None:
    loss = load_loss(text, signature=branch)
    return loss.graph if isinstance(loss, GraphLoss) else None


def provenance(store: RunStore, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Where a loss comes from and what it reached, for its file."""
    best = summary["best"]
    facts: dict[str, Any] = {
        "cse_autoloss": __version__,
        "run": store.directory.name,
        "seed": summary["seed"],
        "data": store.config.get("detection", {}).get("data"),
        "box_weight": best["box_weight"],
        "lr": best["lr"],
        "val_ap": best["val_ap"],
        "verdict": summary["verdict"],
    }
    faults = AnnotationFaults(**store.config.get("detection", {}).get("faults", {}))
    if faults.notes:
        facts["faults"] = "; ".join(faults.notes)
    # One seed gives a figure without an interval: that is for the summary to tell, with its note.
    facts |= {
        name: best[name] for name in ("test_ap", "gain") if best[name] and best[name]["low"] is not None
    }
    return facts


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
