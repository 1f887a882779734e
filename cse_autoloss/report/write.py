"""What a run leaves behind: summary.json, best/ with the loss in every form, and the table on the screen.

A report is a function of the store and of what the audit found; it can be written again at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cse_autoloss._version import __version__
from cse_autoloss.bench.audit import AuditResult
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.bench.session import Session
from cse_autoloss.bench.spent import spent
from cse_autoloss.certify import Certificate
from cse_autoloss.export import (
    draw,
    draw_pair,
    make_pair,
    to_json,
    to_json_pair,
    torch_source,
    torch_source_pair,
)
from cse_autoloss.export.parametric_source import parametric_forms
from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.losses import CATALOGUE, find_alike, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.parametric import ParametricLoss, is_parametric
from cse_autoloss.runs import RunStore, write_whole
from cse_autoloss.searches.protocol import SearchState, ranked
from cse_autoloss.spaces import form_of
from cse_autoloss.tasks.protocol import Metric

PAIR = ("cls", "reg")
"""Slots whose losses go into one file, as a detector takes them; of other slots each has a file of its own."""

HALL_OF_FAME = 20
"""Members of each population that the summary lists."""


def write_report(
    store: RunStore,
    status: RunStatus,
    clock: Clock,
    state: SearchState,
    found: Sequence[tuple[LossSet, float]],
    audit: AuditResult | None,
    notes: Sequence[str],
    session: Session,
    workers: int = 1,
    extra: Mapping[str, Any] | None = None,
    too_short: str = "",
) -> dict[str, Any]:
    """Write summary.json and best/ into the run directory.

    Args:
        store: of the run.
        status: counts of the funnel.
        clock: seconds of the stages.
        state: of the search.
        found: the discovered losses, best validation worth first, with that worth.
        audit: None where it was not reached.
        notes: what was shrunk.
        session: task, slots and metric.
        workers: trainings side by side.
        extra: what else the summary holds.
        too_short: the verdict of a run whose budget held no search worth one; see `RunSize`.

    Returns:
        The summary.
    """
    metric = session.metric
    best = _best(found, audit, metric)
    told = audit.to_dict() if audit else {"baselines": [], "winners": [], "verdict": _unaudited(best, store)}
    summary: dict[str, Any] = {
        "version": __version__,
        "status": store.status,
        "task": session.task.name,
        "slots": {slot: session.task.slots[slot].name for slot in session.slots},
        "metric": {
            "name": metric.name,
            "title": metric.label,
            "higher": metric.higher,
            "factor": metric.factor,
            "digits": metric.digits,
        },
        "seed": store.config.get("seed"),
        "generations": state.generation,
        "funnel": {
            name: int(status.funnel.get(name, 0))
            for name in ("generated", "duplicates", "verified", "simulated", "trained")
        },
        "rejected": {stage: dict(codes.most_common()) for stage, codes in status.rejected.items()},
        "seconds": {**{k: round(v, 2) for k, v in clock.seconds.items()}, "total": round(clock.elapsed, 2)},
        "overhead": round(clock.overhead, 4),
        "utilisation": clock.utilisation(workers) | spent(store),
        "baselines": told["baselines"],
        "winners": told["winners"],
        "finalists": told.get("finalists", []),
        "best": best,
        "paired_noise": told.get("paired_noise"),
        "draws": told.get("draws", 0),
        "tuning": told.get("tuning", []),
        "too_short": bool(too_short),
        "verdict": too_short or told["verdict"],
        "notes": [
            *notes,
            *_learnt(store),
            *_lost(store),
            *told.get("notes", []),
            *(_known(best, session) if best else ()),
        ],
        "hall_of_fame": {
            slot: [
                {
                    "formula": m.formula,
                    "val": metric.figure(m.fitness),
                    "expected": metric.figure(m.standing),
                    "seeds": len(m.scores),
                    "name": m.name,
                    "origin": m.origin,
                }
                for m in ranked(members)[:HALL_OF_FAME]
            ]
            for slot, members in state.populations.items()
        },
        **(extra or {}),
    }
    if best is not None:
        best["certificate"] = _certificates(best, session, store)
    summary = finite(summary)
    if best is not None:
        write_best(store.directory / "best", best, session, provenance(session, store, summary))
    write_whole(store.directory / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    store.set_meta("summary", summary)
    return summary


def write_best(
    directory: Path, best: Mapping[str, Any], session: Session, provenance: Mapping[str, Any]
) -> None:
    """Write loss.py, loss.json, graph.svg, graph.png and graph.dot of the discovered losses.

    Where a slot alone was searched, the other losses are a catalogue's, and nobody asks for their graphs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for slot in session.slots:
        if is_parametric(best["losses"][slot]):
            forms = parametric_forms(ParametricLoss.from_text(best["losses"][slot]), provenance)
            for suffix, text in forms.items():
                write_whole(directory / f"loss{suffix}", text)
            return
    graphs = {slot: _graph(best["losses"][slot], session.task.slots[slot]) for slot in session.slots}
    known = {slot: graph for slot, graph in graphs.items() if graph is not None}
    if tuple(known) == PAIR and make_pair(*(graph.signature for graph in known.values())):
        cls, reg = known.values()
        alpha = _alpha(best, PAIR[0], session)
        source = torch_source_pair(cls, reg, alpha=alpha, provenance=provenance)
        document = to_json_pair(cls, reg, alpha, provenance)
        for suffix in ("svg", "png", "dot"):
            draw_pair(cls, reg, directory / f"graph.{suffix}")
        _write_forms(directory, "", source, document)
        return
    for slot, graph in known.items():
        end = "" if len(known) == 1 else f"_{slot}"
        alpha = _alpha(best, slot, session) if form_of(graph.signature).weighted else None
        for suffix in ("svg", "png", "dot"):
            draw(graph, directory / f"graph{end}.{suffix}")
        source = torch_source(graph, alpha=alpha, provenance=provenance)
        _write_forms(directory, end, source, to_json(graph, alpha, provenance))


def _write_forms(directory: Path, end: str, source: str, document: Mapping[str, Any]) -> None:
    write_whole(directory / f"loss{end}.py", source)
    write_whole(directory / f"loss{end}.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _best(
    found: Sequence[tuple[LossSet, float]], audit: AuditResult | None, metric: Metric
) -> dict[str, Any] | None:
    if audit is not None and audit.best is not None:
        losses, val = audit.best.losses, audit.best.val
    elif found:
        losses, val = found[0][0], metric.figure(found[0][1])
    else:
        return None
    one = audit.best if audit is not None else None
    return {
        "losses": losses.losses,
        "alpha": losses.alpha,
        "settings": losses.tuned,
        "val": val,
        "test": audit.interval(one).to_dict() if audit and one and one.test else None,
        "gain": {"over": audit.rival.name, **audit.gain.to_dict()}
        if audit and one and audit.rival and audit.gain
        else None,
    }


def _known(best: Mapping[str, Any], session: Session) -> Iterator[str]:
    """What of the find is a loss that people know: a gain is then the scale's, which is a rate."""
    for slot in session.slots:
        text, signature = best["losses"][slot], session.task.slots[slot]
        if text not in CATALOGUE and not is_parametric(text):
            for match in find_alike(text, signature)[:1]:
                yield f"what was found for {slot} is known: {match}"


def _certificates(best: Mapping[str, Any], session: Session, store: RunStore) -> dict[str, Any]:
    """What was proved of the find before its audit, by slot; what was not reached is not there."""
    found = store.meta("certificates") or {}
    graphs = {slot: _graph(best["losses"][slot], session.task.slots[slot]) for slot in session.slots}
    return {slot: found[g.formula] for slot, g in graphs.items() if g is not None and g.formula in found}


def _learnt(store: RunStore) -> Iterator[str]:
    """What was read of earlier runs, and what was passed over."""
    for event in store.events("learnt from"):
        yield str(event.detail["note"])


def _lost(store: RunStore) -> Iterator[str]:
    """How often the machine took a worker, in all the processes of the run."""
    times = sum(event.detail["tries"] - 1 for event in store.events("workers lost"))
    if times:
        yield f"{times} times a worker was killed or lost, and its job begun again"


def _unaudited(best: Mapping[str, Any] | None, store: RunStore) -> str:
    if store.status == "interrupted":
        found = "and nothing is claimed about test data" if best is not None else "and no loss was found yet"
        return f"Interrupted before the audit, {found}. Go on with: cse-autoloss evolve --resume {store.directory}"
    if best is None:
        return "The search found no loss that passed every stage."
    return "The audit was not reached, so nothing is claimed about test data."


def _graph(text: str, signature: Signature) -> LossGraph | None:
    loss = load_loss(text, signature)
    return loss.graph if isinstance(loss, GraphLoss) else None


def _alpha(best: Mapping[str, Any], slot: str, session: Session) -> float | None:
    """What weighs a slot's loss as it was trained: the run's α, or else the one that its name brings along."""
    loss = load_loss(best["losses"][slot], session.task.slots[slot])
    own = loss.alpha if isinstance(loss, GraphLoss) else None
    return own if best["alpha"] is None else best["alpha"]


def provenance(session: Session, store: RunStore, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Where a loss comes from and what it reached, for its file."""
    best = summary["best"]
    facts: dict[str, Any] = {
        "cse_autoloss": __version__,
        "run": store.directory.name,
        "task": session.task.name,
        "seed": summary.get("mu", summary)["seed"],
        "data": getattr(session.config.own, "data", None),
        **best["settings"],
        "metric": session.metric.name,
        "val": best["val"],
        "verdict": summary["verdict"],
    }
    for slot, certificate in best.get("certificate", {}).items():
        for outcome, names in Certificate.from_dict(certificate).brief().items():
            facts[f"{slot} {outcome}"] = names
    if session.task.notes:
        facts["notes"] = "; ".join(session.task.notes)
    # One seed gives a figure without an interval: that is for the summary to tell, with its note. Those of a run
    # that was too short are chance.
    told = () if summary.get("too_short") else ("test", "gain")
    facts |= {name: best[name] for name in told if best[name] and best[name]["low"] is not None}
    return facts


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return value
