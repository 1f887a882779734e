"""Train a torchvision detector at full size: one process or several, autocast, checkpoints that resume to the
step.

Whatever is random in a step is drawn from its seed, the run's seed with the step's number: a training that
was interrupted goes on as if it had not been. Importing this module needs torchvision.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from cse_autoloss.errors import ConfigError, DataError, RunError
from cse_autoloss.fullsize.checkpoint import check_same_settings, load_checkpoint, save_checkpoint
from cse_autoloss.fullsize.data import CocoImages, Example, StepBatches, Target, load_images
from cse_autoloss.fullsize.evaluate import coco_table
from cse_autoloss.fullsize.models import make_model
from cse_autoloss.fullsize.settings import TrainSettings, rate_at

NOT_PART_OF_THE_RESULT = ("root", "workers", "save_every", "max_steps")
"""Settings that may differ when a training goes on."""


@dataclass(frozen=True)
class StepReport:
    """One optimiser step, for a progress bar.

    Attributes:
        step, steps: how many are done, and of how many.
        losses: torchvision's names with their values, of this process's images.
        lr: learning rate.
        seconds: since the last report.
    """

    step: int
    steps: int
    losses: dict[str, float]
    lr: float
    seconds: float


def train(
    settings: TrainSettings,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Train, keep checkpoints in `out`, score the result.

    Under `torchrun` each process trains on its share of every batch; only the first writes and scores. In
    `out` lie afterwards checkpoint.pt, scalars.jsonl (a line a step), tensorboard/ where tensorboard is
    installed, and table.json.

    Args:
        settings: what to train.
        out: output folder, made where it is missing.
        device: "cpu" or "cuda"; under torchrun each process takes the GPU of its local rank.
        resume: go on from `out`/checkpoint.pt if there is one; False refuses a folder that has one.
        on_step: called after each step.
        on_image: called after each scored image: how many are done, and of how many.

    Returns:
        COCO's figures; see `evaluate.coco_table`. Empty in other processes than the first.

    Raises:
        AutoLossError: a user's mistake: settings, data, or a checkpoint that does not fit.
        RunError: the loss is not finite at some step.
    """
    with _processes(device) as (rank, world, place):
        if settings.batch < world:
            raise ConfigError(f"batch: expected at least one image a process ({world}), got {settings.batch}")
        train_file, val_file, categories = load_images(settings)
        model = make_model(settings, len(categories))
        data = CocoImages(train_file, categories, model.first_label)
        network = model.network.to(place)
        optimiser = torch.optim.SGD(
            [p for p in network.parameters() if p.requires_grad],
            lr=1.0,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        peak = settings.lr if settings.lr is not None else model.peak_rate * settings.batch / 16
        begin = _restore(settings, out, data.class_names, network, optimiser, resume)
        whole: nn.Module = network
        if world > 1:
            whole = DistributedDataParallel(
                network, device_ids=[place.index] if place.type == "cuda" else None
            )

        an_epoch = len(StepBatches(len(data), settings.batch, seed=0, epoch=0))
        steps = min(an_epoch * settings.epochs, settings.max_steps or an_epoch * settings.epochs)
        last = time.perf_counter()
        network.train()
        with _Writer(out, begin) if rank == 0 else nullcontext() as writer:
            for step, examples in _examples(settings, data, begin, steps, an_epoch, rank, world):
                rate = rate_at(step, an_epoch, settings, peak)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                torch.manual_seed((settings.seed * 1_000_003 + step) * world + rank)
                losses = _step(whole, optimiser, examples, place, settings, step, steps)
                if writer is not None:
                    report = StepReport(step + 1, steps, losses, rate, time.perf_counter() - last)
                    writer.write(report)
                    on_step(report)
                    if (step + 1) % settings.save_every == 0 or step + 1 == steps:
                        _save(settings, out, data.class_names, network, optimiser, step + 1)
                last = time.perf_counter()
        if rank > 0:
            return {}
        val = CocoImages(val_file, categories, model.first_label)
        table = coco_table(network, val, model.first_label, place, on_image)
        (out / "table.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        return table


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    examples: list[Example],
    place: torch.device,
    settings: TrainSettings,
    step: int,
    steps: int,
) -> dict[str, float]:
    images = [image.to(place) for image, _ in examples]
    targets: list[Target] = [{key: value.to(place) for key, value in t.items()} for _, t in examples]
    with torch.autocast(place.type, dtype=torch.bfloat16, enabled=settings.amp):
        found: dict[str, Tensor] = network(images, targets)
    total = torch.stack([value.float() for value in found.values()]).sum()
    losses = {name: value.item() for name, value in found.items()}
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        raise RunError(
            f"the loss is not finite at step {step + 1} of {steps} ({values}); "
            "try a lower learning rate, gradient clipping, or another loss"
        )
    optimiser.zero_grad()
    total.backward()  # type: ignore[no-untyped-call, unused-ignore]
    if settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    optimiser.step()
    return losses


def _examples(
    settings: TrainSettings,
    data: CocoImages,
    begin: int,
    steps: int,
    an_epoch: int,
    rank: int,
    world: int,
) -> Iterator[tuple[int, list[Example]]]:
    """The examples of each step from `begin` on."""
    step = begin
    while step < steps:
        epoch, first = divmod(step, an_epoch)
        batches = StepBatches(
            len(data), settings.batch, seed=settings.seed, epoch=epoch, first=first, rank=rank, world=world
        )
        loader = DataLoader(
            data,
            batch_sampler=batches,
            num_workers=settings.workers,
            collate_fn=list,
        )
        try:
            for examples in loader:
                if step >= steps:
                    return
                yield step, examples
                step += 1
        except DataError as error:
            # A reading process hands its error over with the traceback as text; what it says comes last.
            line = str(error).strip().splitlines()[-1]
            raise DataError(line.partition("DataError: ")[2] or line) from None


def _plain(settings: TrainSettings) -> dict[str, Any]:
    """What of the settings decides the result, as values that a checkpoint may hold."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
        if name not in NOT_PART_OF_THE_RESULT
    }


def _save(
    settings: TrainSettings,
    out: Path,
    classes: list[str],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    state = {
        "detector": settings.detector,
        "classes": classes,
        "step": step,
        "settings": _plain(settings),
        "model": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    save_checkpoint(out / "checkpoint.pt", state)


def _restore(
    settings: TrainSettings,
    out: Path,
    classes: list[str],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    resume: bool,
) -> int:
    """Load the checkpoint that is there; the step to go on with."""
    path = out / "checkpoint.pt"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: can not be made: {error.strerror}") from None
    if not path.exists():
        return 0
    if not resume:
        raise RunError(f"{path} exists: go on with it, or take another output folder")
    state = load_checkpoint(path, detector=settings.detector, classes=classes)
    check_same_settings(path, state["settings"], _plain(settings))
    try:
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()
        raise RunError(f"{path}: does not fit the detector: {' '.join(first[:2])}") from None
    return int(state["step"])


@contextmanager
def _processes(device: str) -> Iterator[tuple[int, int, torch.device]]:
    """Rank, number of processes and device; torchrun says them in the environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1, torch.device(device)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if device.startswith("cuda") else torch.device("cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), world, place
    finally:
        dist.destroy_process_group()


class _Writer:
    """Scalars of every step: a line of JSON each, and TensorBoard's events where it is installed."""

    def __init__(self, out: Path, begin: int) -> None:
        self._file: TextIO = _from_step(out / "scalars.jsonl", begin)
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=begin)

    def write(self, report: StepReport) -> None:
        """One step."""
        values = {**report.losses, "lr": report.lr, "seconds": report.seconds}
        self._file.write(json.dumps({"step": report.step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, report.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _from_step(path: Path, begin: int) -> TextIO:
    """The file of scalars, open for more, without lines past the step that the training goes on from."""
    kept = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half a line, from a training that was killed
            if isinstance(entry, dict) and entry.get("step", begin + 1) <= begin:
                kept.append(line + "\n")
    file = path.open("w", encoding="utf-8")
    file.writelines(kept)
    return file
