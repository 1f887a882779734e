"""Which task's data a folder or file is, by what lies in it."""

from __future__ import annotations

from pathlib import Path

from cse_autoloss.errors import ConfigError, DataError

PREFIXES = {
    "coco": "detection", "yolo": "detection", "voc": "detection", "market": "reid", "csv": "regression",
    "cifar10": "classification", "cifar100": "classification", "idx": "classification",
}  # fmt: skip
"""What stands before the colon of data -> its task."""
EMBEDDED = ("careless-digits", "digits", "orl", "diabetes")
"""Data that come with a package, which only their task tells apart."""
_OF_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_OF_MASKS = ("mask", "masks", "labels", "label", "annotations", "gt", "groundtruth", "segmentationclass")
"""What people call two folders of images and of their masks; of classes nobody calls two so."""
_KNOWN = (
    "photographs with boxes in COCO's, YOLO's or Pascal VOC's layout (detection), images/ and masks/ (segmentation), "
    "train/ with a folder of images for each class (classification), CIFAR-10's, CIFAR-100's or MNIST's files "
    "(classification), bounding_box_train/ (re-identification), or a .csv file (regression)"
)


def recognise(data: str, task: str | None = None) -> tuple[str, str]:
    """A task, and the data as its setting `data` takes them: KIND:PLACE, or a folder of photographs with boxes.

    Args:
        data: a folder, a .csv file, or KIND:PLACE.
        task: where the user says it: folders of people (faces) look like folders of classes.

    Raises:
        DataError: they are of no kind that is known.
        ConfigError: they are of another task.
    """
    kind, colon, place = data.partition(":")
    if task is not None and data in EMBEDDED and not Path(data).exists():
        return task, data
    if colon and kind in PREFIXES:
        return _agreed(data, PREFIXES[kind], task), data
    path = Path(place if colon and kind == "folder" else data).expanduser()
    found, kind = _of_path(path)
    if task == "faces" and (found, kind) == ("classification", "folder"):
        found = "faces"
    _agreed(str(path), found, task)
    # Of photographs with boxes the task finds the layout out itself.
    return found, f"{kind}:{path}" if kind else str(path.absolute())


def _agreed(data: str, found: str, task: str | None) -> str:
    if task is not None and task != found:
        raise ConfigError(f"{data}: looks like data for {found}, not for {task}")
    return found


def _of_path(path: Path) -> tuple[str, str]:
    """Task, and kind before the colon."""
    from cse_autoloss.tasks.image_listing import folders_of, list_images, split_folders

    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".csv":
        return "regression", "csv"
    has = {one.name for one in path.iterdir()} if path.is_dir() else set()
    train = split_folders(path).get("train")
    if {"images", "masks"} <= has or (train and (train / "masks").is_dir()):
        return "segmentation", "folder"
    if "bounding_box_train" in has:
        return "reid", "market"
    if has & {"data_batch_1.bin", "data_batch_1", "cifar-10-batches-bin", "cifar-10-batches-py"}:
        return "classification", "cifar10"
    if has & {"cifar-100-binary", "cifar-100-python"} or has >= {"train.bin", "test.bin"}:
        return "classification", "cifar100"
    if has >= {"train", "test", "meta"} and train is None:
        return "classification", "cifar100"
    if any("-ubyte" in name for name in has) or ("raw" in has and list((path / "raw").glob("*-ubyte*"))):
        return "classification", "idx"
    if path.is_dir() and _has_boxes(path):
        return "detection", ""
    pictured = [one.name for one in folders_of(path) if list_images(one).images]
    beside = [name for name in pictured if name.lower() not in _OF_IMAGES]
    if len(pictured) == 2 and len(beside) == 1 and beside[0].lower() in _OF_MASKS:
        raise DataError(f"{path}: are these masks in {beside[0]}/? expected images/ and masks/")
    if pictured:
        return "classification", "folder"
    raise DataError(f"{path}: none of the known layouts: expected {_KNOWN}")


def _has_boxes(folder: Path) -> bool:
    """Whether the folder looks like photographs with boxes; what is wrong with them is told when they are read."""
    from cse_autoloss.tasks.photographs.layouts import EXPECTED, Source, find_layout, other_task

    try:
        find_layout(Source.of(str(folder)))
    except DataError as error:
        return EXPECTED not in str(error) and not other_task(folder)
    return True


def last_column(data: str) -> tuple[str, list[str]]:
    """The column of "csv:FILE" that is predicted until the user says another, and all columns."""
    from cse_autoloss.tasks.tables import read_rows

    names = read_rows(Path(data.partition(":")[2]).expanduser()).names
    return names[-1], names
