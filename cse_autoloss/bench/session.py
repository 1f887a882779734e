"""What all stages of a run share: its configuration, store, clock and task, and the rivals that it is measured by."""

from __future__ import annotations

import hashlib
import json

from cse_autoloss.bench.budget import TRAIN_IMAGES, AuditSize, Cost, RunSize, train_limit
from cse_autoloss.bench.jobs import STATES, LossPair
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.detectors.registry import detector_builder
from cse_autoloss.errors import ConfigError
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.settings.tasks.detection import DetectionSettings

BASELINES = {
    "cls-binary": (
        ("bce", "giou"),
        ("quality-focal", "square-iou"),
        ("quality-focal", "giou"),
        ("focal", "giou"),
        ("cse-autoloss-b-cls", "cse-autoloss-b-reg"),
        ("varifocal", "giou"),
        ("bce", "iou"),
    ),
    "cls-multiclass": (
        ("cross-entropy", "giou"),
        ("cse-autoloss-a-cls", "cse-autoloss-a-reg"),
        ("softmax-focal", "giou"),
        ("cross-entropy", "iou"),
        ("softmax-poly-1", "giou"),
        ("cross-entropy", "diou"),
        ("cross-entropy", "log-iou"),
    ),
}
"""Pairs that people use with a detector's classification branch, by how much would be lost if one were left out
for lack of time; the first is the plain one, the second the best of docs/benchmarks/transfer.md."""

SEEDS_OF_SEARCH = 1_000
SEEDS_OF_TUNING = 2_000
SEEDS_OF_AUDIT = 3_000
"""Training seeds start at the run's seed times 10,000 plus these, so that no stage sees another's luck."""


class RunFrame:
    """What the stages of a run share.

    Attributes:
        config, store, clock, status: of the run; `detection` is what the configuration says of its task.
        work: what its workers are told at their start.
        task: digest of the data, model and device settings; a score holds for one task.
        cls_branch: the classification branch of the detector.
        branches: that are searched.
        alpha: α weighting of classification candidates.
        baselines: pairs that people use, see `BASELINES`.
        partner: for each branch, what stands in the other one while it is searched: the strongest plain baseline.
    """

    def __init__(self, config: SearchConfig, store: RunStore, device: str) -> None:
        self.config = config
        self.detection = config.own_as(DetectionSettings)
        self.store = store
        before = store.meta("clock", {"elapsed": 0.0, "seconds": {}})
        self.clock = Clock(config.budget, before["elapsed"], before["seconds"], before.get("busy"))
        self.status = RunStatus(budget=config.budget)
        self.work = {
            "detection": self.detection.model_dump(mode="json"),
            "simulate": config.simulate.model_dump(mode="json"),
            "device": device,
            "states": str(store.directory.resolve() / STATES),
        }
        identity = json.dumps([self.work["detection"], self.work["device"]], sort_keys=True)
        self.task = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.branches = searched_branches(config)
        self.cls_branch = detector_builder(self.detection.detector).branch
        self.alpha = config.alpha if self.cls_branch == "cls-binary" else None
        self.baselines = BASELINES[self.cls_branch]
        plain_cls, plain_reg = self.baselines[0]
        self.partner = {self.cls_branch: plain_reg, "reg": plain_cls}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the run's results should know of its data, in words."""
        return self.detection.faults.notes

    def pair(self, cls: str, reg: str) -> LossPair:
        """A candidate pair as the search trains it, before any tuning."""
        return LossPair(cls, reg, self.alpha, self.detection.box_weight, self.detection.lr)

    def first_seed(self, of: int) -> int:
        """First training seed of a stage; `of` is one of the SEEDS_OF_... above."""
        return self.config.seed * 10_000 + of

    def train_limit(self, size: RunSize) -> int | None:
        """Number of training images that a run of this size uses; None for all."""
        images = self.store.meta(TRAIN_IMAGES, self.detection.scenes.counts[0])
        return train_limit(size.share, images, self.detection.batch)

    def limit(self, cost: Cost, epochs: float) -> float:
        """Wall seconds after which a training is killed; never less than five times what an ordinary one takes."""
        return max(30.0, self.config.proxy.limit_factor * cost.training(epochs))

    def asked_audit(self) -> AuditSize:
        """The audit that the configuration asks for."""
        audit = self.config.audit
        return AuditSize(
            winners=audit.finalists,
            baselines=min(audit.baselines, len(self.baselines)),
            box_weights=audit.box_weights,
            lrs=tuple(self.detection.lr * factor for factor in audit.lr_factors),
            tune_epochs=audit.tune_epochs,
            tune_seeds=audit.tune_seeds,
            seeds=audit.seeds,
            epochs=audit.epochs,
        )


def searched_branches(config: SearchConfig) -> tuple[str, ...]:
    """The branches that a configuration searches."""
    cls = detector_builder(config.own_as(DetectionSettings).detector).branch
    return {"cls": (cls,), "reg": ("reg",), "both": (cls, "reg")}[config.branch]


def resolve_device(name: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; ConfigError where CUDA is asked for and not there."""
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise ConfigError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return "cpu"
