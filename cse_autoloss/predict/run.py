"""`predict_images`: from a run to pictures of what its detector finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.detectors.selection import Detections
from cse_autoloss.errors import ConfigError, DataError, UnknownNameError, shorten
from cse_autoloss.pages.fonts import shown_names
from cse_autoloss.predict.draw import Drawn, draw, grid
from cse_autoloss.predict.model import Plan, load_or_train, make_task, read_plan
from cse_autoloss.predict.photographs import Picture, expanded, of_files, of_split
from cse_autoloss.predict.results import detections, write_results
from cse_autoloss.runs import refuse_links
from cse_autoloss.settings.load import changed
from cse_autoloss.tasks.average_precision import AveragePrecision, AveragePrecisionMetric
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.matching import best_threshold, found_on
from cse_autoloss.tasks.protocol import SplitName

IN_GRID = 6
"""Pictures in the grid."""
GRID, NUMBERED, RESULTS = "grid.png", "[0-9][0-9][0-9][0-9].png", "detections.json"
"""The grid, the single pictures, and the file that tells that they are ours."""
SPLITS: tuple[SplitName, ...] = ("test", "val")


@dataclass(frozen=True)
class PredictResult:
    """What was drawn.

    Attributes:
        name: of the losses.
        score: from which on detections are drawn.
        chosen: whether `score` was chosen on validation, for want of one.
        split: "test" or "val"; None for single photographs.
        ap: of the whole split; None for single photographs.
        test_ap: what the audit noted for the same training; None where it noted nothing.
        files: the grid first, then the single pictures.
        right, wrong, missed: counts over the pictures, at an IoU of 0.5; None for single photographs, whose objects are
            not known.
        detections: of each picture: `image`, and `boxes` with `class`, `score` and `bbox` [x, y, width, height] in
            pixels of the photograph. As COCO's results they also lie in detections.json.
    """

    name: str
    score: float
    chosen: bool
    split: SplitName | None
    ap: AveragePrecision | None
    test_ap: float | None
    files: tuple[Path, ...]
    right: int | None
    wrong: int | None
    missed: int | None
    detections: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "loss": self.name,
            "score": self.score,
            "split": self.split,
            "ap": self.ap._asdict() if self.ap else None,
            "audit_ap": self.test_ap,
            "right": self.right,
            "wrong": self.wrong,
            "missed": self.missed,
            "files": [str(path) for path in self.files],
            "detections": list(self.detections),
        }


def predict_images(
    run: str | Path,
    images: Sequence[str | Path] = (),
    *,
    data: str | None = None,
    split: str = "test",
    loss: str | None = None,
    out: str | Path | None = None,
    score: float | None = None,
    count: int = 24,
    note: Callable[[str], None] = lambda text: None,
    code: Collection[str] = (),
) -> PredictResult:
    """Draw what the detector of a run finds.

    At the first call the pair of losses is trained once more as the audit did it, and its weights are kept in
    the run directory. Pictures of the test split are for looking: nothing may be chosen by them.

    Args:
        run: the run directory.
        images: photographs to draw on, in place of a split; a folder stands for those in it, "*.jpg" for what it
            matches.
        data: another folder, as "coco:DIR", with the same classes; None is the run's own data.
        split: "test" or "val".
        loss: a name of the audit's table; None is the winner.
        out: folder for the pictures; None is predictions/ in the run directory.
        score: from which on a detection is drawn; None is the score with the best F1 on validation.
        count: most single pictures of a split.
        note: told before a training starts.
        code: the FILE.py:NAME that the run was made with, where you let its detector run again.

    Raises:
        AutoLossError: no such run, loss, data, or weights that do not fit, in one line.
    """
    if split not in SPLITS:
        raise UnknownNameError.of("split", split, SPLITS)
    if count < 1:
        raise ConfigError(f"count: expected at least 1, got {count}")
    if score is not None and not 0 <= score <= 1:
        raise ConfigError(f"score: expected a number from 0 to 1, got {score:g}")
    if images and data is not None:
        raise ConfigError("give either photographs or the data of a split, not both")
    directory = Path(run)
    refuse_links(directory)
    plan = read_plan(directory, loss, code)
    task = make_task(plan.config)
    where = _other_data(task, data) if data is not None and data != task.settings.data else task
    photographs = expanded(images)  # says which is missing before anything is trained
    target = Path(out) if out is not None else directory / "predictions"
    _check_place(target, photographs)
    model = load_or_train(directory, plan, task, note)
    threshold = best_threshold(task.predict(model, "val"), task.split("val")) if score is None else score
    name: SplitName = "val" if split == "val" else "test"
    if images:
        pictures, found, ap = _on_files(task, model, photographs)
    else:
        pictures, found, ap = _on_split(task, where, model, name, count)
    names, lacking = shown_names(task.class_names)
    drawn = [draw(one, found_on(*at, threshold), names) for one, at in zip(pictures, found, strict=True)]
    if lacking:
        note(f"Note: {lacking}")
    below = _below(plan, threshold, score is None)
    files = _write(drawn, target, _title(plan, ap, None if images else name), below)
    told = tuple(
        detections(one, found_on(*at), task.class_names) for one, at in zip(pictures, found, strict=True)
    )
    write_results(target / RESULTS, told, task.class_names)
    right, wrong, missed = (
        None if images else sum(getattr(one, key) for one in drawn) for key in ("right", "wrong", "missed")
    )
    return PredictResult(
        plan.name,
        threshold,
        score is None,
        None if images else name,
        ap,
        plan.test_ap if name == "test" and where is task and not images else None,
        files,
        right,
        wrong,
        missed,
        told,
    )


def _other_data(task: DetectionTask, data: str) -> DetectionTask:
    other = DetectionTask(changed(task.settings, {"data": data}), str(task.device))
    if other.class_names != task.class_names:
        raise DataError(
            f"{data}: {len(other.class_names)} classes ({shorten(', '.join(other.class_names))}), but the detector "
            f"was trained on {len(task.class_names)} ({shorten(', '.join(task.class_names))})"
        )
    return other


def _on_split(
    task: DetectionTask, where: DetectionTask, model: Detector, name: SplitName, count: int
) -> tuple[list[Picture], list[tuple[Detections, int]], AveragePrecision]:
    """Pictures, where their detections are, and the AP of the whole split."""
    split = where.split(name)
    found = task.predict(model, torch.from_numpy(split.images))
    metric = AveragePrecisionMetric(split, task.num_classes)
    told = (found.boxes.cpu().numpy(), found.log_scores.cpu().numpy(), found.labels.cpu().numpy())
    pictures = of_split(where, name, count)
    at = [(found, row) for row in range(len(pictures))]
    return pictures, at, metric(*told)


def _on_files(
    task: DetectionTask, model: Detector, paths: list[Path]
) -> tuple[list[Picture], list[tuple[Detections, int]], None]:
    channels = int(task.split("train").images.shape[1])
    side = task.settings.scenes.canvas if task.settings.embedded else task.settings.image_size
    seen = of_files(paths, channels, side, model.stride)
    return [picture for picture, _ in seen], [(task.predict(model, pixels), 0) for _, pixels in seen], None


def _title(plan: Plan, ap: AveragePrecision | None, split: str | None) -> str:
    detector = shorten(plan.config.own.detector)
    if ap is None:
        return f"{plan.name}, {detector}"
    figures = f"AP {100 * ap.ap:.1f}, AP50 {100 * ap.ap50:.1f}, AP75 {100 * ap.ap75:.1f}"
    return f"{plan.name}, {detector}: {figures} on {split}"


def _below(plan: Plan, threshold: float, chosen: bool) -> str:
    how = "best F1 on val" if chosen else "as asked for"
    return f"detections with a score of {threshold:.2g} or more ({how}); first images, none chosen"


def _check_place(folder: Path, photographs: Sequence[Path]) -> None:
    """ConfigError where pictures would take the place of files that are not ours."""
    if any(path.resolve().parent == folder.resolve() for path in photographs):
        raise ConfigError(f"out: {folder} holds the photographs themselves; name another folder")
    old = next((path for path in (*folder.glob(NUMBERED), folder / GRID) if path.is_file()), None)
    if old is not None and not (folder / RESULTS).is_file():
        raise ConfigError(f"out: {old} is none of our pictures, and would be lost; name another folder")


def _write(drawn: list[Drawn], folder: Path, title: str, below: str) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(NUMBERED):
        old.unlink()
    files = [folder / GRID]
    grid(drawn[:IN_GRID], title, below, columns=3, width=480).save(files[0], optimize=True)
    for number, one in enumerate(drawn, 1):
        files.append(folder / f"{number:04d}.png")
        one.image.save(files[-1])
    return tuple(files)
