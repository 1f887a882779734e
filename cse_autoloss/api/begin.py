"""`init`: a configuration for the user's own data, with what was seen of them in its comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cse_autoloss.api.recognised import last_column, recognise
from cse_autoloss.errors import ConfigError, RunError

SMALL = 10.0
"""Pixels: where half of the objects' shorter sides are below it, images are brought to a larger size."""
LARGEST = 384


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
        data: a folder, a .csv file or KIND:PLACE, as `inspect_data` takes it; None is the task's embedded data.
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
    seen = _Seen(task or "detection")
    if data is not None:
        found, place = recognise(str(data), task)
        seen = _Seen(found, {"data": (place, "yours")})
    _look(seen)
    text = _text(seen, budget or seen.budget, target)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{target}: {error.strerror or error}") from None
    load_config(target, {}, section_of)  # what was written is read as it is meant
    return target


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
    last, names = last_column(str(seen.own["data"][0]))
    seen.own["target"] = (last, f"the column to predict; there are {', '.join(names)}")
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
