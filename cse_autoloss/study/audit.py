"""The audit of a study: the best loss against those people use, by a function on data that no search has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cse_autoloss.bench.audit import AuditPlan, AuditResult, Contestant, conclude, tune
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.tuning import Axis
from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.losses import load_loss
from cse_autoloss.losses.negatives import NEGATIVES
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.spaces import form_of
from cse_autoloss.study.functions import Apart, Caller, Function, Here, Request, counted
from cse_autoloss.study.parts import Parts

SEEDS_OF_TUNING, SEEDS_OF_AUDIT = 2_000, 3_000


@dataclass(frozen=True)
class StudyAudit:
    """What the audit found; printed, it is a table with the verdict.

    Attributes:
        result: contestants, gain and its interval.
    """

    result: AuditResult

    @property
    def verdict(self) -> str:
        """One honest sentence."""
        return self.result.verdict

    def __str__(self) -> str:
        metric, rows = self.result.metric, []
        toward = metric.figure(1.0)
        for one in self.result.contestants:
            interval = self.result.interval(one)
            settings = ", ".join(f"{name} {value:g}" for name, value in one.losses.settings)
            rows.append((toward * interval.mean, one, interval, settings))
        lines = [f"{'loss':<44} {'value':>10}   {int(100 * self.result.confidence)} % interval"]
        for _, one, interval, settings in sorted(rows, key=lambda row: -row[0]):
            name = one.name if len(one.name) <= 44 else f"{one.name[:43]}…"
            span = f"[{interval.low:.4g}, {interval.high:.4g}]"
            lines.append(f"{name:<44} {interval.mean:>10.4g}   {span}  {settings}".rstrip())
        return "\n".join([*lines, self.verdict, *(f"Note: {note}" for note in self.result.notes)])


def audited(
    parts: Parts,
    fit: Function,
    *,
    against: Sequence[str],
    seeds: int,
    ranges: Mapping[str, tuple[float, float]] | None,
    tuning: int,
    validate: Function | None,
    workers: int,
    negative_weight: bool = False,
) -> StudyAudit:
    """Arguments as of `Study.audit`."""
    counted(seeds, "audit: seeds, for an interval", 2)
    counted(tuning, "audit: tuning")
    counted(workers, "audit: workers", 0)
    for what, given in (("fit", fit), ("validate", validate or fit)):
        if not callable(given):
            raise ConfigError(f"audit: {what}: expected a training function, got {shorten(repr(given))}")
    if bool(ranges) != (validate is not None) and not negative_weight:
        raise ConfigError(
            "audit: ranges and validate go together: settings are tuned on validation data, never on test"
        )
    sigmoids = tuple(slot for slot, one in parts.slots.items() if form_of(one).weighted)
    if negative_weight and not (sigmoids and validate):
        kinds = " and ".join(dict.fromkeys(one.name for one in parts.slots.values()))
        wanted = "validate, which it is tuned by" if sigmoids else "a loss of per-class sigmoids (cls-binary)"
        raise ConfigError(
            f"audit: negative_weight: expected {wanted}" + ("" if sigmoids else f", not {kinds}")
        )
    best = parts.best
    contestants = [Contestant("discovered", LossSet.of(best.texts), True)]
    for text in dict.fromkeys(("", *against)):
        losses = _losses(parts, text)
        contestants.append(
            Contestant(LossSet.of(losses).name if text else "default", LossSet.of(losses), False)
        )
    first = parts.config.seed * 10_000
    plan = AuditPlan(
        metric=parts.metric,
        task="study",
        seeds=tuple(first + SEEDS_OF_AUDIT + i for i in range(seeds)),
        space=tuple(_axis(name, span) for name, span in (ranges or {}).items()),
        tries=tuning,
        tune_epochs=0.0,
        tune_seeds=(first + SEEDS_OF_TUNING, first + SEEDS_OF_TUNING + 1),
        epochs=0.0,
        sigmoids=sigmoids if negative_weight else (),
        negatives=NEGATIVES.span if negative_weight else None,
    )
    if validate is not None:
        with _calls(validate, parts, workers) as caller:
            contestants = tune(contestants, plan, lambda wanted: _trained(wanted, parts.store, caller))
    with _calls(fit, parts, workers) as caller:
        scores = _trained(plan.final(contestants), parts.store, caller)
    return StudyAudit(conclude(contestants, plan, scores))


def _axis(name: str, span: Sequence[float]) -> Axis:
    try:
        low, high = (float(value) for value in span)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high < math.inf:
        raise ConfigError(f"audit: ranges: {name}: expected (least, most) above 0, got {shorten(repr(span))}")
    return Axis(name, math.sqrt(low * high), low, high)


class _calls:
    """A caller that is closed at the end."""

    def __init__(self, function: Function, parts: Parts, workers: int) -> None:
        self._apart = Apart(function, parts.slots, workers=workers, limit=None) if workers else None
        self._caller: Caller = self._apart or Here(function, parts.slots)

    def __enter__(self) -> Caller:
        return self._caller

    def __exit__(self, *error: object) -> None:
        if self._apart is not None:
            self._apart.close()


def _losses(parts: Parts, text: str) -> dict[str, str]:
    """Slot -> loss of an opponent; "" is the default of each."""
    if not text:
        return dict(parts.plain)
    given = [one.strip() for one in text.split("+")]
    if len(given) != len(parts.slots):
        raise ConfigError(
            f"{text!r}: expected one loss for each of {', '.join(parts.slots)}, with + between them"
        )
    found = dict(zip(parts.slots, given, strict=True))
    for slot, one in found.items():
        load_loss(one, parts.slots[slot])
    return found


def _trained(wanted: Sequence[Training], store: RunStore, caller: Caller) -> dict[str, Score]:
    """Scores by key; what the store has is not called again."""
    scores: dict[str, Score] = {}
    waiting: dict[str, Training] = {}
    for training in wanted:
        kept = store.score(training.key)
        if kept is not None and kept.status in ("ok", "diverged"):
            scores[training.key] = kept
        else:
            waiting[training.key] = training
    requests = [
        Request(key, one.losses.losses, {"seed": one.seed, **one.losses.tuned})
        for key, one in waiting.items()
    ]
    for key, outcome in caller.run(requests):
        value: dict[str, Any] = {"status": outcome.status}
        if outcome.value is not None:
            value["metrics"] = {"value": outcome.value}
        score = waiting[key].score("ok", value, outcome.detail, outcome.seconds)
        store.add_score(score)
        scores[key] = score
    return scores
