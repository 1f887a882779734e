"""What a worker process does: hold the data and the default losses ready, then simulate and train on request.

`init` and `run` are the functions that the executors call; only JSON goes in and out. Torch is imported here and in
what this module imports, so a worker is warm after its first job.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cse_autoloss.losses import load_loss
from cse_autoloss.simulation import SimulateSettings, Simulator
from cse_autoloss.spaces import parse
from cse_autoloss.tasks.detection import DetectionSettings, DetectionTask
from cse_autoloss.tasks.one_of_each import one_of_each


@dataclass
class Context:
    """A worker's warm state.

    Attributes:
        settings: of the task.
        simulation: of the model optimisation simulation.
        device: "cpu" or "cuda".
        states: folder for the states of paused trainings; None where there are none.
    """

    settings: DetectionSettings
    simulation: SimulateSettings
    device: str
    states: Path | None = None

    @cached_property
    def task(self) -> DetectionTask:
        """Data and proxy, made at the first use."""
        return DetectionTask(self.settings, self.device)

    @cached_property
    def simulator(self) -> Simulator:
        """The simulation on one training image of each category."""
        images = one_of_each(self.task.split("train"), self.task.num_classes)
        return Simulator(self.simulation, images, self.device)


def init(config: dict[str, Any]) -> Context:
    """Called once in a worker: `detection` and `simulate` settings, the device and the folder of `states`."""
    return Context(
        TypeAdapter(DetectionSettings).validate_python(config["detection"]),
        TypeAdapter(SimulateSettings).validate_python(config["simulate"]),
        config["device"],
        Path(config["states"]) if config.get("states") else None,
    )


def run(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Do one job: `kind` is "simulate" or "train"; see `cse_autoloss.bench.jobs` for the payloads."""
    if payload["kind"] == "simulate":
        return _simulate(context, payload)
    if payload["kind"] == "train":
        return _train(context, payload)
    raise ValueError(f"no such kind of job: {payload['kind']!r}")


def _simulate(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    graphs = [parse(formula, payload["branch"]) for formula in payload["formulas"]]
    verdicts = context.simulator.run_batch(graphs, alpha=payload["alpha"])
    return {"verdicts": [verdict.to_dict() for verdict in verdicts]}


def _train(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    pair = payload["pair"]
    options = {} if pair["alpha"] is None else {"alpha": pair["alpha"]}
    cls = load_loss(pair["cls"], signature=context.task.branch, reduction="sum", **options)
    reg = load_loss(pair["reg"], signature="reg", reduction="sum")
    score = context.task.train_and_score(
        cls,
        reg,
        seed=payload["seed"],
        epochs=payload["epochs"],
        box_weight=pair["box_weight"],
        lr=pair["lr"],
        split=payload["split"],
        train_limit=payload["train_limit"],
        until=payload["until"],
        scenes=payload["scenes"],
        state=context.states / f"{payload['state']}.pt" if context.states and payload["state"] else None,
    )
    return {
        "status": score.status,
        "detail": score.detail,
        "ap": score.ap,
        "ap50": score.ap50,
        "ap75": score.ap75,
        "seconds_train": score.seconds_train,
        "seconds_score": score.seconds_score,
        "epochs_trained": score.epochs_trained,
        "train_images": len(context.task.split("train").images),
    }
