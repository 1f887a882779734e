"""`init`: a configuration for the user's own data, with what was seen of them in its comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cse_autoloss.errors import ConfigError, DataError, RunError

SMALL = 10.0
"""Pixels: where half of the objects' shorter sides are below it, images are brought to a larger size."""
LARGEST = 384
_PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
_KNOWN = (
    "photographs with boxes in COCO's, YOLO's or Pascal VOC's layout (detection), images/ and masks/ (segmentation), "
    "train/ with a folder of images for each class (classification), CIFAR-10's or MNIST's files (classification), "
    "bounding_box_train/ (re-identification), or a .csv file (regression)"
)


@dataclass
class _Seen:
    """What was found: the task, its settings with a comment each, and lines about the data."""

    task: str
    own: dict[str, tuple[Any, str]] = field(default_factory=dict)
    about: list[str] = field(default_factory=list)
    budget: str = "20m"


def init_config(
    data: str | Path | None = None,
    *,
    task: str | None = None,
    out: str | Path = "autoloss.yaml",
    budget: str | None = None,
) -> Path:
    """Look at data, and write a commented configuration for a search on them.

    Args:
        data: a folder or a .csv file; None is the task's embedded data.
        task: where the data do not tell it: detection, classification, segmentation, regression, faces, reid.
        out: the file to write, which must not be there yet.
        budget: wall time of the search; by default by the size of the data.

    Raises:
        DataError: the data are of no kind that is known, or can't be used, in one line.
        ConfigError: no such task, or the file is there already.
    """
    from cse_autoloss.settings.load import load_config
    from cse_autoloss.tasks.registry import section_of

    target = Path(out)
    if target.exists():
        raise ConfigError(f"{target}: is there already; name another file by --out")
    seen = _Seen(task or "detection") if data is None else _recognised(Path(data), task)
    _look(seen)
    text = _text(seen, budget or seen.budget, target)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{target}: {error.strerror or error}") from None
    load_config(target, {}, section_of)  # what was written is read as it is meant
    return target


def _recognised(path: Path, task: str | None) -> _Seen:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    has = {one.name for one in path.iterdir()} if path.is_dir() else set()
    parts = {name for name in has if (path / name).is_dir()}
    kind = ""
    if path.suffix.lower() == ".csv":
        found, kind = "regression", "csv"
    elif {"images", "masks"} <= has or ("train" in parts and (path / "train" / "masks").is_dir()):
        found, kind = "segmentation", "folder"
    elif "bounding_box_train" in parts:
        found, kind = "reid", "market"
    elif "data_batch_1.bin" in has or "cifar-10-batches-bin" in parts:
        found, kind = "classification", "cifar10"
    elif any("-ubyte" in name for name in has):
        found, kind = "classification", "idx"
    elif path.is_dir() and _has_boxes(path):
        found, kind = "detection", "boxes"
    elif any(
        _has_images(path / name) for name in parts | {f"train/{one}" for one in _inside(path / "train")}
    ):
        found, kind = "classification", "folder"
    else:
        raise DataError(f"{path}: none of the known layouts: expected {_KNOWN}")
    if task is not None and task != found:
        raise ConfigError(f"{path}: looks like data for {found}, not for {task}")
    if kind == "boxes":  # the task finds the layout out itself
        return _Seen(found, {"data": (str(path.absolute()), "yours")})
    return _Seen(found, {"data": (f"{kind}:{path}", "yours")})


def _has_boxes(folder: Path) -> bool:
    """Whether the folder looks like photographs with boxes; what is wrong with them is told when they are read."""
    from cse_autoloss.tasks.photographs.layouts import EXPECTED, Source, find_layout, other_task

    try:
        find_layout(Source.of(str(folder)))
    except DataError as error:
        return EXPECTED not in str(error) and not other_task(folder)
    return True


def _inside(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(one.suffix.lower() in _PHOTOGRAPHS for one in folder.iterdir())


def _look(seen: _Seen) -> None:
    """Read the data as a run would; what is wrong with them is said now."""
    from cse_autoloss.bench.session import Session
    from cse_autoloss.settings.load import load_config
    from cse_autoloss.tasks.registry import section_of

    if seen.task == "regression" and "data" in seen.own:
        _choose_target(seen)
    config = load_config(None, {"task": seen.task, **_dotted(seen)}, section_of)
    task: Any = Session(config).task
    seen.about += [str(note) for note in task.check()]
    if seen.task == "detection":
        _look_at_objects(seen, task)
    elif hasattr(task, "samples"):
        seen.about.append(f"{task.samples} samples to train on")
        seen.budget = "20m" if task.samples <= 5000 else "1h"


def _choose_target(seen: _Seen) -> None:
    """The last column is predicted until the user says another."""
    path = Path(str(seen.own["data"][0]).partition(":")[2])
    with path.open(encoding="utf-8", errors="replace") as stream:
        names = [name.strip() for name in stream.readline().split(",")]
    seen.own["target"] = (names[-1], f"the column to predict; there are {', '.join(names)}")
    seen.own["outliers"] = (0.0, "share of the targets to train on that is made wrong, on purpose")


def _look_at_objects(seen: _Seen, task: Any) -> None:
    import numpy as np

    train = task.split("train")
    there = train.labels >= 0
    boxes = train.boxes[there]
    count, objects = len(train), int(there.sum())
    seen.about.append(
        f"{count} images to train on, {len(task.split('val'))} to validate, {len(task.split('test'))} to test on; "
        f"{objects} objects of {len(task.class_names)} classes"
    )
    if "data" not in seen.own or not objects:
        return
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    middle, now = float(np.median(sides)), int(task.settings.image_size)
    wanted = min(LARGEST, int(np.ceil(now * max(1.0, SMALL / max(middle, 1e-3)) / 32) * 32))
    words = f"pixels of an image's longer side; at {now} half of the objects are narrower than {middle:.0f} pixels"
    seen.own["image_size"] = (wanted, words)
    seen.own["detector"] = (
        "one-stage-pyramid", "for photographs; one-stage is faster, two-stage and two-stage-pyramid are the others",
    )  # fmt: skip
    work = count * (wanted / 128) ** 2
    seen.budget = "20m" if work <= 1000 else "1h" if work <= 5000 else "4h"


def _dotted(seen: _Seen) -> dict[str, Any]:
    return {f"{seen.task}.{name}": value for name, (value, _) in seen.own.items()}


def _text(seen: _Seen, budget: str, target: Path) -> str:
    import yaml

    def line(name: str, value: Any, words: str, indent: str = "") -> str:
        stated = yaml.safe_dump(
            {name: value}, default_flow_style=False, width=10_000, allow_unicode=True
        ).strip()
        return f"{indent}{stated:<{34 - len(indent)}}  # {_one_line(words)}"

    lines = [
        "# Written by cse-autoloss init. What was seen:",
        *(f"#   {_one_line(words)}" for words in seen.about or ["embedded data"]),
        f"# Try it:   cse-autoloss evolve --config {_one_line(str(target))} --dry-run",
        f"# Run it:   cse-autoloss evolve --config {_one_line(str(target))}",
        "# What is left out has its default: every setting stands in search_configs/, with a comment.",
        "",
        line("task", seen.task, "what a loss is looked for"),
        line("budget", budget, "wall time in all, audit included; longer finds more"),
        line("seed", 0, "another seed, another search"),
        line("workers", "auto", "trainings side by side; auto is one a core"),
    ]
    if seen.own:
        lines += ["", f"{seen.task}:", *(line(name, *told, "  ") for name, told in seen.own.items())]
    lines += [
        "",
        "audit:",
        line("seeds", 5, "paired trainings of each in the final comparison; 10 tell smaller gains", "  "),
    ]
    return "\n".join(lines) + "\n"


def _one_line(words: str) -> str:
    from cse_autoloss.errors import printable

    return printable(words)
