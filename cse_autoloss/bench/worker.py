"""What a worker process does: hold a task ready, then simulate and train on request.

`init` and `run` are the functions that the executors call; only JSON goes in and out. Torch is imported here and in
what this module imports, so a worker is warm after its first job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cse_autoloss.bench import bred, stacked
from cse_autoloss.bench.scored import scored
from cse_autoloss.bench.spent import peak_memory
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.margin import MarginSoftmax
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.searches.protocol import Search
from cse_autoloss.searches.registry import make_search
from cse_autoloss.settings.load import SearchConfig, parse_config
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.cosines import MARGIN
from cse_autoloss.tasks.protocol import LossFunction, Schedule, Simulation, Task, TaskScore
from cse_autoloss.tasks.registry import TASKS, section_of


@dataclass
class Context:
    """A worker's warm state.

    Attributes:
        config: of the run.
        device: "cpu" or "cuda".
        states: folder for the states of paused trainings; None where there are none.
    """

    config: SearchConfig
    device: str
    states: Path | None = None
    _others: dict[tuple[str, int], Task] = field(default_factory=dict)
    _search: Search | None = None

    @cached_property
    def task(self) -> Task:
        """Made at the first use."""
        return self._made(self.config.own)

    def seeded(self, seed: int) -> Task:
        """The task with a seed of its own for splits, weights and batches."""
        return self._other("seed", seed, lambda: self.config.own.model_copy(update={"seed": seed}))

    def drawn(self, draw: int) -> Task:
        """The task on a draw of its data; 0 is that of the settings."""
        return self._other("draw", draw, lambda: self.task.drawn(draw)) if draw else self.task

    def _other(self, kind: str, number: int, settings: Callable[[], Any]) -> Task:
        """Made at the first use; the last two are kept."""
        key = kind, number
        if key not in self._others:
            for old in list(self._others)[:-1]:
                del self._others[old]
            self._others[key] = self._made(settings())
        return self._others[key]

    def _made(self, settings: Any) -> Task:
        return TASKS.get(self.config.task)(settings, self.device)

    def search(self, starters: Mapping[str, Sequence[str]], slots: Sequence[str]) -> Search:
        """The run's search, made at the first use."""
        if self._search is None:
            signatures = {slot: self.task.slots[slot] for slot in slots}
            graphs = {
                slot: [parse_formula(f, signatures[slot]) for f in own] for slot, own in starters.items()
            }
            self._search = make_search(self.config, signatures, graphs)
        return self._search

    @cached_property
    def simulation(self) -> Simulation | None:
        """The task's second filter."""
        return self.task.simulation(self.config.simulate)


def init(work: dict[str, Any]) -> Context:
    """Called once in a worker: the run's `config`, the `device` and the folder of `states`."""
    states = work.get("states")
    return Context(
        parse_config(work["config"], section=section_of), work["device"], Path(states) if states else None
    )


def run(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Do one job of a `kind`; see `cse_autoloss.bench.jobs` and `cse_autoloss.bench.stacked` for the payloads."""
    return _KINDS[payload["kind"]](context, payload)


def _simulate(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    assert context.simulation is not None
    signature = context.task.slots[payload["slot"]]
    graphs = [parse_formula(formula, signature) for formula in payload["formulas"]]
    verdicts = context.simulation.run_batch(graphs, alpha=payload["alpha"])
    return {"verdicts": [verdict.to_dict() for verdict in verdicts]}


def _losses(task: Task, payload: dict[str, Any]) -> dict[str, LossFunction]:
    return {
        slot: slot_loss(text, task.slots[slot], payload["alpha"], task.cosine_scale)
        for slot, text in payload["losses"].items()
    }


def _schedule(context: Context, payload: dict[str, Any]) -> Schedule:
    state = payload["state"]
    return Schedule(
        **payload["schedule"], state=context.states / f"{state}.pt" if context.states and state else None
    )


def _value(given: TaskScore, task: Task) -> dict[str, Any]:
    score = scored(given, task)
    return {**asdict(score), "metrics": dict(score.metrics), "parts": dict(score.parts)}


def _train(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    task, schedule = context.drawn(payload["draw"]), _schedule(context, payload)
    losses, started = _losses(task, payload), time.perf_counter()
    given = task.train(
        losses, seed=payload["seed"], schedule=schedule, settings=payload["settings"], split=payload["split"]
    )
    value = _value(given, task)
    if not value["epochs_trained"]:  # the task does not tell what it took
        value["epochs_trained"] = schedule.epochs if schedule.until is None else schedule.until
        value["seconds_train"] = value["seconds_train"] or time.perf_counter() - started
    return {**value, "memory": peak_memory(context.device)}


def _train_stack(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    members = payload["members"]
    first = members[0]
    task = context.drawn(first["draw"])
    assert first["split"] == "val"
    given = task.train_together(
        [_losses(task, one) for one in members],
        seed=first["seed"],
        schedules=[_schedule(context, one) for one in members],
        settings=first["settings"],
    )
    return {"members": [_value(one, task) for one in given], "memory": peak_memory(context.device)}


def _stack(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    assert context.states is not None
    work = stacked.train if payload["kind"] == "stack" else stacked.best_on_test
    found = work(context.seeded(payload["seed"]), context.states, payload)
    return {**found, "memory": peak_memory(context.device)}


def _breed(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    search = context.search(payload["starters"], list(payload["state"]["populations"]))
    return bred.breed(search, context.config.looking, payload)


_KINDS = {
    "breed": _breed,
    "simulate": _simulate,
    "train": _train,
    "train-stack": _train_stack,
    "stack": _stack,
    "best-on-test": _stack,
}


def slot_loss(
    text: str, signature: Signature, alpha: float | None, cosine_scale: float | None = None
) -> LossFunction:
    """A slot's loss as tasks take it: its sum over samples; α weighs losses of binary classification.

    `cosine_scale`: of a task whose logits are cosines, where a margin loss may stand.
    """
    if cosine_scale is not None and text in CATALOGUE and CATALOGUE[text].signature is MARGIN:
        margin = load_loss(text, reduction="sum")
        assert isinstance(margin, MarginSoftmax)
        return margin.on_logits(cosine_scale)
    unweighted = alpha is None or not form_of(signature).weighted or is_parametric(text)
    weighting: float | Literal["default"] | None = "default" if unweighted else alpha
    # Tasks ignore nothing: None spares the look for it.
    ignored: Literal["default"] | None = None if form_of(signature).head else "default"
    return load_loss(text, signature, reduction="sum", alpha=weighting, ignore_index=ignored)
