"""Train a torchvision detector at full size: one process or several, autocast, checkpoints that resume to the
step.

Whatever is random in a step is drawn from its seed, the run's seed with the step's number: a training that
was interrupted goes on as if it had not been. Importing this module needs torchvision.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from cse_autoloss.errors import ConfigError, DataError, RunError
from cse_autoloss.fullsize import checkpoint
from cse_autoloss.fullsize.data import CocoImages, Example, Files, StepBatches, Target, load_files
from cse_autoloss.fullsize.evaluate import coco_table
from cse_autoloss.fullsize.families import Family, family_of
from cse_autoloss.fullsize.interrupt import Interrupt, deaf
from cse_autoloss.fullsize.losses import settle
from cse_autoloss.fullsize.models import make_model
from cse_autoloss.fullsize.processes import Place, first_tells, my_place, together
from cse_autoloss.fullsize.scalars import ScalarWriter, check_tensorboard
from cse_autoloss.fullsize.settings import NOT_PART_OF_THE_RESULT, TrainSettings, rate_at
from cse_autoloss.fullsize.watch import Silent, StepReport, Watcher
from cse_autoloss.runs import refuse_links
from cse_autoloss.runs.lock import RunLock
from cse_autoloss.settings.load import dump

Tables = dict[str, dict[str, float]]

_WRITTEN = ("train.yaml", "scalars.jsonl", "table.json", "tensorboard")


@dataclass
class _Training:
    """What the steps work on; `step` is how many are done."""

    settings: TrainSettings
    place: Place
    family: Family
    data: CocoImages
    digest: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    peak: float
    an_epoch: int
    steps: int
    step: int

    def save(self, out: Path) -> None:
        state = {
            "detector": self.settings.detector,
            "classes": self.data.class_names,
            "data": self.digest,
            "step": self.step,
            "settings": _plain(self.settings),
            "model": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        checkpoint.save_checkpoint(out / checkpoint.NAME, state)


def train(
    settings: TrainSettings,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    watcher: Watcher | None = None,
) -> Tables:
    """Train, keep checkpoints in `out`, score the result.

    Under `torchrun` each process trains on its share of every batch; only the first writes, tells and scores.
    In `out` lie afterwards train.yaml (all settings), checkpoint.pt, scalars.jsonl (a line a step),
    tensorboard/ where TensorBoard is installed, and table.json.

    Args:
        settings: what to train.
        out: output folder, made where it is missing.
        device: "auto", "cpu" or "cuda"; under torchrun each process takes the GPU of its local rank.
        resume: go on from `out`/checkpoint.pt if there is one; False refuses a folder that has one.
        watcher: who is told what happens.

    Returns:
        COCO's figures of "val", and of "test" where it was asked for; see `evaluate.coco_table`. Empty in
        other processes than the first.

    Raises:
        AutoLossError: a user's mistake: settings, data, or a checkpoint that does not fit.
        RunError: the loss is not finite at some step, or the memory is too small.
        KeyboardInterrupt: the user stopped it; a checkpoint of the last whole step is there.
    """
    place = my_place(device)
    watcher = watcher if watcher is not None and place.leads else Silent()
    with ExitStack() as stack:
        with first_tells():
            settings = settle(settings)
            check_tensorboard(settings.tensorboard)
            files = load_files(settings, family_of(settings.detector).masks, watcher.looked)
            for note in files.notes:
                watcher.say(note)
            training = _prepared(settings, place, files, out, resume, watcher)
            if place.leads:
                _make_folder(out)
                refuse_links(out, _WRITTEN)
                stack.callback(RunLock(out / "train.lock").release)
                (out / "train.yaml").write_text(dump(settings), encoding="utf-8")
        writer = None
        if place.leads:
            writer = stack.enter_context(ScalarWriter(out, training.step, settings.tensorboard))
        with together(place):
            _steps(training, out, writer, watcher)
        if not place.leads:
            return {}
        tables = _scored(training, files, watcher)
        for split, table in tables.items():
            assert writer is not None
            writer.write_table(split, table, training.step)
        kept = {**_without_nan(tables), "notes": list(files.notes)}
        (out / "table.json").write_text(
            json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        return tables


def _prepared(
    settings: TrainSettings, place: Place, files: Files, out: Path, resume: bool, watcher: Watcher
) -> _Training:
    """Data, network and optimiser, as the checkpoint has them where there is one."""
    path = out / checkpoint.NAME
    going_on = path.exists()
    if going_on and not resume:
        raise RunError(f"{path} exists: go on with it, or take another output folder")
    names = [files.train.categories[number] for number in files.categories]
    model = make_model(settings, names, load=not going_on)
    data = CocoImages(files.train, files.categories, model.family.first_label, model.family.masks)
    batch = min(settings.batch, len(data))
    if batch % place.world:
        raise ConfigError(f"batch: {batch} images do not divide among {place.world} processes")
    network = model.network.to(place.device)
    optimiser = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad],
        lr=1.0,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    peak = settings.lr if settings.lr is not None else model.family.peak_rate * settings.batch / 16
    an_epoch = len(StepBatches(len(data), settings.batch, seed=0, epoch=0))
    steps = min(an_epoch * settings.epochs, settings.max_steps or an_epoch * settings.epochs)
    step = 0
    if going_on:
        step = _restore(path, settings, data.class_names, files.digest, network, optimiser)
    where = f"{place.device}" + (f" and {place.world - 1} more" if place.world > 1 else "")
    watcher.say(
        f"{settings.detector}: {len(data)} images, {len(names)} classes, {steps} steps of {batch}, "
        f"peak learning rate {peak:.4g}, on {where}"
    )
    watcher.say(f"loss: {settings.loss or 'of torchvision'}" + _weighted(settings.alpha, settings.cls_weight))
    watcher.say(f"box loss: {settings.loss_reg or 'of torchvision'}" + _weighted(None, settings.box_weight))
    watcher.say(f"goes on after step {step} of {steps}" if going_on else f"starts from {model.start}")
    return _Training(
        settings, place, model.family, data, files.digest, network, optimiser, peak, an_epoch, steps, step
    )


def _weighted(alpha: float | str | None, weight: float) -> str:
    parts = [f"alpha {alpha:g}"] if isinstance(alpha, float) else []
    parts += [f"weight {weight:g}"] if weight != 1 else []
    return f" ({', '.join(parts)})" if parts else ""


def _steps(training: _Training, out: Path, writer: ScalarWriter | None, watcher: Watcher) -> None:
    """All steps that are left, with a checkpoint now and then, at the end, and when the user stops it."""
    settings, place = training.settings, training.place
    whole = training.network
    if place.world > 1:
        ids = [place.device.index] if place.device.type == "cuda" else None
        whole = DistributedDataParallel(whole, device_ids=ids)
    whole.train()
    last = time.perf_counter()
    with Interrupt() as interrupt:
        for examples in _examples(training):
            step = training.step
            rate = rate_at(step, training.an_epoch, settings, training.peak)
            for group in training.optimiser.param_groups:
                group["lr"] = rate
            torch.manual_seed((settings.seed * 1_000_003 + step) * place.world + place.rank)
            losses = _step(whole, examples, training)
            training.step = step + 1
            done = step + 1 == training.steps
            if writer is not None:
                report = StepReport(step + 1, training.steps, losses, rate, time.perf_counter() - last)
                writer.write(report)
                watcher.stepped(report)
                if (step + 1) % settings.save_every == 0 or done or interrupt.asked:
                    training.save(out)
            if interrupt.asked and not done:
                watcher.say(f"stopped after step {step + 1}; go on by --resume {out}")
                raise KeyboardInterrupt
            last = time.perf_counter()


def _step(network: nn.Module, examples: list[Example], training: _Training) -> dict[str, float]:
    device, settings = training.place.device, training.settings
    images = [image.to(device, non_blocking=True) for image, _ in examples]
    targets: list[Target] = [
        {key: value.to(device, non_blocking=True) for key, value in target.items()} for _, target in examples
    ]
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.amp):
            found: dict[str, Tensor] = network(images, targets)
        total = torch.stack([value.float() for value in found.values()]).sum()
        losses = {name: value.item() for name, value in found.items()}
        if not math.isfinite(total.item()):
            raise _not_finite(training, losses)
        training.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call, unused-ignore]
    except RuntimeError as error:
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            raise _no_memory(training, examples) from None
        raise
    if settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    training.optimiser.step()
    return losses


def _not_finite(training: _Training, losses: dict[str, float]) -> RunError:
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    who = f"process {training.place.rank}: " if training.place.rank else ""
    return RunError(
        f"{who}the loss is not finite at step {training.step + 1} of {training.steps} ({values}); "
        "try a lower learning rate, gradient clipping, or another loss"
    )


def _no_memory(training: _Training, examples: list[Example]) -> RunError:
    boxes = max(len(target["boxes"]) for _, target in examples)
    return RunError(
        f"the memory of {training.place.device} is too small at step {training.step + 1}: {len(examples)} images a "
        f"process, shorter side {training.settings.image_size}, up to {boxes} boxes in one; "
        "try a smaller batch or image_size, or amp"
    )


def _examples(training: _Training) -> Iterator[list[Example]]:
    """The examples of each step from `training.step` on, which the caller counts up."""
    settings, place = training.settings, training.place
    while training.step < training.steps:
        epoch, first = divmod(training.step, training.an_epoch)
        loader = DataLoader(
            training.data,
            batch_sampler=StepBatches(
                len(training.data),
                settings.batch,
                seed=settings.seed,
                epoch=epoch,
                first=first,
                rank=place.rank,
                world=place.world,
            ),
            num_workers=settings.workers,
            collate_fn=list,
            pin_memory=place.device.type == "cuda",
            worker_init_fn=deaf,
        )
        try:
            for examples in loader:
                yield examples
                if training.step >= training.steps:
                    return
        except DataError as error:
            # A reading process hands its error over with the traceback as text; what it says comes last.
            line = str(error).strip().splitlines()[-1]
            raise DataError(line.partition("DataError: ")[2] or line) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                f"a reading process ended at step {training.step + 1} ({str(error).splitlines()[0]}); "
                "the memory may be too small: try fewer --workers"
            ) from None


def _scored(training: _Training, files: Files, watcher: Watcher) -> Tables:
    tables: Tables = {}
    first = training.family.first_label
    for split, file in (("val", files.val), ("test", files.test)):
        if file is not None:
            data = CocoImages(file, files.categories, first, training.family.masks)
            tell = partial(watcher.scored, split)
            tables[split] = coco_table(training.network, data, first, training.place.device, tell)
    return tables


def _without_nan(tables: Tables) -> dict[str, dict[str, float | None]]:
    """What JSON can hold: null where the data has no object of a size."""
    return {
        split: {name: None if math.isnan(value) else value for name, value in table.items()}
        for split, table in tables.items()
    }


def _plain(settings: TrainSettings) -> dict[str, Any]:
    """What of the settings decides the result, as values that a checkpoint may hold."""
    return settings.model_dump(mode="json", exclude=set(NOT_PART_OF_THE_RESULT))


def _restore(
    path: Path,
    settings: TrainSettings,
    classes: list[str],
    digest: str,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> int:
    """Load the checkpoint; the number of steps that are done."""
    state = checkpoint.load_checkpoint(path, detector=settings.detector, classes=classes)
    if state.get("data", digest) != digest:
        raise RunError(
            f"{path}: the training began with other images or boxes than {settings.data} holds now"
        )
    checkpoint.check_same_settings(path, state["settings"], _plain(settings))
    try:
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()
        raise RunError(f"{path}: does not fit the detector: {' '.join(first[:2])}") from None
    return int(state["step"])


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: can not be made: {error.strerror}") from None
