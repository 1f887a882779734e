"""The detector to draw with: a pair of a run's losses, trained as the audit trained it, its weights kept in the run.

A run keeps figures, not weights. So the pair is trained once more, with its tuned box weight and learning rate, on
the audit's schedule and with the audit's first seed, which gives the very detector that the audit scored. The weights
then lie in RUN/weights/, as a file that `torch.load(weights_only=True)` reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from cse_autoloss.bench.budget import TRAIN_SAMPLES, RunSize, train_limit
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, resolve_device
from cse_autoloss.bench.stored import identity, stored_config
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.detectors.registry import detector_builder
from cse_autoloss.errors import RunError, UnknownNameError
from cse_autoloss.runs import RunStore, write_whole
from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.threads import one_torch_thread
from cse_autoloss.training.loop import Diverged

FORMAT = 1
"""The version of the weights' file."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, read from a run.

    Attributes:
        name: of the losses, as the run's table has it.
        losses: with their tuned settings.
        seed, epochs, train_limit: of the audit's first training.
        test_ap: what that training scored in the audit; None where there was none.
        config: of the run.
    """

    name: str
    losses: LossSet
    seed: int
    epochs: float
    train_limit: int | None
    test_ap: float | None
    config: SearchConfig

    @property
    def key(self) -> str:
        """Tells apart the weights of different trainings of one run."""
        parts = [
            asdict(self.losses),
            self.seed,
            self.epochs,
            self.train_limit,
            identity(self.config.own.detector),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def read_plan(directory: Path, loss: str | None = None, code: Collection[str] = ()) -> Plan:
    """What to train for a run.

    Args:
        directory: the run.
        loss: a name of the audit's table; None is the winner.
        code: as of `stored_config`.

    Raises:
        RunError: no run, or one that found no loss yet.
        UnknownNameError: no such name; the nearest is offered.
    """
    with RunStore.read(directory) as store:
        if "compare" in store.config:
            raise RunError(f"{directory}: a comparison; pictures are drawn of what a search found")
        config = stored_config(store, code, trains=False)
        if config.task != DetectionTask.name:
            raise RunError(f"{directory}: a run of {config.task}; pictures are drawn of detections alone")
        summary = store.meta("summary")
        size = store.typed_meta("size", RunSize)
        samples = store.typed_meta(TRAIN_SAMPLES, int) or 0
        if not isinstance(summary, dict) or summary.get("best") is None:
            state = "has no result yet" if summary is None else "found no loss"
            raise RunError(f"{directory}: the run {state}; there is nothing to draw with")
        with store.understood("the summary"):
            name, losses = _chosen(summary, loss)
        epochs = size.audit.epochs if size else config.audit.epochs
        seed = config.seed * 10_000 + SEEDS_OF_AUDIT
        # The data of that training: a fresh draw, where the audit had them.
        drawn = DetectionTask(config.own).drawn(seed % config.audit.draws + 1) if config.audit.draws else None
        if drawn is not None:
            config = config.model_copy(update={config.section: drawn})
        share = size.share if size else 1.0
        scored = [
            score.metrics["ap"]
            for score in store.scores("audit", status="ok")
            if (score.losses, score.settings) == (losses.losses, losses.tuned)
            and (score.seed, score.epochs) == (seed, epochs)
        ]
    limit = train_limit(share, samples, config.own.batch)
    return Plan(name, losses, seed, epochs, limit, scored[0] if scored else None, config)


def _chosen(summary: dict[str, Any], loss: str | None) -> tuple[str, LossSet]:
    best = summary["best"]
    discovered = summary["winners"] + summary.get("finalists", [])
    entries = {entry["name"]: entry for entry in discovered + summary["baselines"]}
    found = {entry["name"] for entry in discovered}
    if loss is None:
        same = [name for name in found if entries[name]["losses"] == best["losses"]]
        name, entry = (same[0] if same else "best"), best
    elif loss in entries:
        name, entry = loss, entries[loss]
    elif loss == "best":
        name, entry = "best", best
    else:
        raise UnknownNameError.of("loss of this run", loss, ("best", *entries))
    alpha = best["alpha"] if loss is None or name in found or name == "best" else None
    return name, LossSet.of(entry["losses"], alpha, entry["settings"])


def make_task(config: SearchConfig) -> DetectionTask:
    """The run's data and detector."""
    return DetectionTask(config.own, resolve_device(config.device))


def load_or_train(
    directory: Path, plan: Plan, task: DetectionTask, note: Callable[[str], None] = lambda text: None
) -> Detector:
    """The trained detector; its weights are kept in the run directory after the first time.

    Args:
        directory: the run.
        plan: of the same run.
        task: of the same run.
        note: told before a training starts.

    Raises:
        RunError: the weights can not be read, are another detector's, or the training diverged.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-")[:40] or "loss"
    path = directory / "weights" / f"{slug}-{plan.key}.pt"
    if path.exists():
        return read_weights(path, plan, task)
    note(f"training {plan.name} for {plan.epochs:g} epochs, as the audit did; weights go to {path}")
    # As a worker of the run does it: sums over several threads differ in their last digits.
    losses = {
        slot: slot_loss(text, task.slots[slot], plan.losses.alpha, task.cosine_scale)
        for slot, text in plan.losses.slots
    }
    with one_torch_thread():
        try:
            run = task.training(
                losses,
                seed=plan.seed,
                epochs=plan.epochs,
                settings=plan.losses.tuned,
                train_limit=plan.train_limit,
            )
            run.advance(run.steps)
        except Diverged as diverged:
            raise RunError(f"{directory}: the training of {plan.name} diverged: {diverged}") from None
    model = cast(Detector, run.model)
    write_weights(path, model, plan, task)
    return model


def write_weights(path: Path, model: Detector, plan: Plan, task: DetectionTask) -> None:
    """Keep the weights; a reader sees the whole file or none."""
    kept = {
        "format": FORMAT,
        "detector": identity(plan.config.own.detector),
        "classes": list(task.class_names),
        "channels": int(task.split("train").images.shape[1]),
        "training": {"name": plan.name, "seed": plan.seed, "epochs": plan.epochs, **asdict(plan.losses)},
        "state": model.state_dict(),
    }
    write_whole(path, partial(torch.save, kept))


def read_weights(path: Path, plan: Plan, task: DetectionTask) -> Detector:
    """A detector with kept weights; RunError, in one line, where they do not fit the run or are damaged."""
    mend = "delete the file to train anew"
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        form, detector, classes, channels = (kept[k] for k in ("format", "detector", "classes", "channels"))
        state = kept["state"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(f"{path}: the weights can not be read ({type(error).__name__}); {mend}") from None
    wanted = plan.config.own.detector
    own_channels = task.split("train").images.shape[1]
    for what, has, expected in (
        ("format", form, FORMAT),
        ("detector", detector, identity(wanted)),
        ("number of classes", len(classes), task.num_classes),
        ("classes", classes, list(task.class_names)),
        ("channels", channels, own_channels),
    ):
        if has != expected:
            raise RunError(f"{path}: {what}: the weights have {has!r}, the run {expected!r}; {mend}")
    model = detector_builder(wanted)(own_channels, task.num_classes)
    try:
        cast(nn.Module, model).load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError):
        raise RunError(f"{path}: the weights do not fit the detector {wanted!r}; {mend}") from None
    model.to(task.device)
    model.to(memory_format=torch.channels_last)
    return model.eval()
