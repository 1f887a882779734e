"""Find out in which of the common layouts a folder is, and where its splits are.

COCO: a JSON file for each split, whatever the folder it lies in (train.json; annotations/instances_train2017.json;
Roboflow's train/_annotations.coco.json), or one for all (Label Studio's result.json, CVAT's instances_default.json).
YOLO: data.yaml, or classes.txt, beside images and their text files. Pascal VOC: XML files, in Annotations or beside
the images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cse_autoloss.errors import DataError, nearest
from cse_autoloss.settings.tasks.detection import EMBEDDED
from cse_autoloss.tasks.image_listing import SPLIT_WORDS, folders_of, list_images, split_folders
from cse_autoloss.tasks.photographs.annotations import Annotations
from cse_autoloss.tasks.photographs.coco_json import read_coco
from cse_autoloss.tasks.photographs.names import ImageFinder
from cse_autoloss.tasks.photographs.voc import listed_files, read_voc
from cse_autoloss.tasks.photographs.yolo import read_yolo, yolo_classes, yolo_places

SPLITS = ("train", "val", "test")
WHOLE = "all"
"""In place of splits, where one file or folder holds everything."""
KINDS = ("coco", "yolo", "voc")
EXPECTED = (
    "expected COCO's (train.json and val.json, annotations/instances_*.json or train/_annotations.coco.json), "
    "YOLO's (data.yaml) or Pascal VOC's (Annotations/*.xml)"
)
NOT_BOXES = re.compile(r"(captions|stuff|panoptic|person_keypoints|image_info|package)", re.IGNORECASE)

Reader = Callable[[], Annotations]


@dataclass(frozen=True)
class Source:
    """Where a data set is, as far as the user says it.

    Attributes:
        root: the folder.
        kind: "coco", "yolo" or "voc"; empty to find it out.
        files: split -> COCO's JSON file below `root`, where it is not to be found out.
        images: split -> folder, below `root`, that the names of images start from; "." is looked for.
        skip_bad: leave out wrong items in place of raising an error.
        segments: keep the objects' outlines too, as COCO's files have them.
    """

    root: Path
    kind: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    skip_bad: bool = False
    segments: bool = False

    @classmethod
    def of(cls, data: str, files: Sequence[str] = (), **rest: object) -> Source:
        """From "coco:DIR", "yolo:DIR", "voc:DIR" or "DIR"; `files` are those of train, val and test where one is not
        called so."""
        kind, colon, place = data.partition(":")
        known = bool(colon) and kind in KINDS
        own = {split: name for split, name in zip(SPLITS, files, strict=False) if name != f"{split}.json"}
        root = Path(place if known else data).expanduser()
        return cls(root, kind if known else "", own, **rest)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Layout:
    """What was found.

    Attributes:
        told: which layout, and what each split is, in words.
        readers: split, or `WHOLE` -> reads it.
        plain: whether it is what the user's settings name as they stand, so that nobody need be told.
    """

    told: str
    readers: Mapping[str, Reader]
    plain: bool = False


def find_layout(source: Source) -> Layout:
    """The layout of a folder.

    Raises:
        DataError: it is none that is known, or lacks a split; in one line, with what was found.
    """
    root = source.root
    if not root.is_dir():
        beside = {name: name for name in EMBEDDED}
        if root.parent.is_dir():
            beside |= {path.name: str(path) for path in root.parent.iterdir()}
        close = nearest(root.name, beside)
        hint = f"; did you mean {beside[close]}?" if close else ""
        raise DataError(f"{root}: no such folder{hint}")
    finders = {"coco": _coco, "yolo": _yolo, "voc": _voc}
    for kind in (source.kind,) if source.kind else KINDS:
        layout = finders[kind](source)
        if layout is not None:
            return layout
    if source.kind:
        for kind in KINDS:
            if kind != source.kind and finders[kind](source) is not None:
                raise DataError(
                    f"{root}: no data in {_named(source.kind)} layout, but in {_named(kind)}: "
                    f"take {kind}:{root}, or the folder alone. {_wanted(source.kind)}"
                )
    raise DataError(f"{root}: {_listed(root)}; {other_task(root) or EXPECTED}")


def other_task(root: Path) -> str:
    """What else than boxes a folder seems to be of; empty where it does not."""
    if (root / "bounding_box_train").is_dir():
        return f"Market-1501's layout is of people: reinforce --config reid --data market:{root}"
    train = split_folders(root).get("train")
    classes = folders_of(train) if train else []
    if (
        classes
        and list_images(classes[0]).images
        and not {"images", "labels"} & {one.name for one in classes}
    ):
        return f"folders of classes have no boxes; classification takes them: reinforce --data folder:{root}"
    return ""


def _named(kind: str) -> str:
    return {"coco": "COCO's", "yolo": "YOLO's", "voc": "Pascal VOC's"}[kind]


def _wanted(kind: str) -> str:
    return {
        "coco": "COCO's has JSON files, as train.json and val.json",
        "yolo": "YOLO's has a data.yaml",
        "voc": "Pascal VOC's has XML files, as Annotations/*.xml",
    }[kind]


def _listed(root: Path) -> str:
    """What a folder that is no data set holds, in short."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in root.iterdir())
    inner = next((path for path in sorted(root.iterdir()) if path.is_dir() and _looks_whole(path)), None)
    hint = f"; did you mean {inner}?" if inner else ""
    if not names:
        return "an empty folder"
    return f"found {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "") + hint


def _looks_whole(folder: Path) -> bool:
    return any(folder.glob("*.json")) or (folder / "data.yaml").is_file() or (folder / "Annotations").is_dir()


def _split_of(path: Path) -> str:
    """The split that a path's parts name, the last first; else `WHOLE`."""
    for part in reversed(path.with_suffix("").parts):
        words = re.findall(r"[a-z]+", part.lower())
        for split, known in SPLIT_WORDS.items():
            if any(word in known for word in words):
                return split
    return WHOLE


def _checked(root: Path, kind: str, places: Mapping[str, str]) -> None:
    """DataError where there is a split, but not those that a search needs."""
    if WHOLE in places or {"train", "val"} <= set(places):
        return
    missing = "train" if "train" not in places else "val"
    words = "training" if missing == "train" else "validation"
    example = {
        "coco": f"{missing}.json",
        "yolo": f"images/{missing}",
        "voc": f"ImageSets/Main/{missing}.txt",
    }[kind]
    why = " (test is the audit's alone)" if missing == "val" and "test" in places else ""
    raise DataError(f"{root}: no {words} split: expected {example}; found {', '.join(places.values())}{why}")


# -- COCO ------------------------------------------------------------------------------------------------------


def _coco(source: Source) -> Layout | None:
    root = source.root
    files = {split: root / name for split, name in source.files.items()}
    for path in files.values():
        if not path.is_file():
            others = [p.name for p in root.glob("*.json") if p not in files.values()]
            close = nearest(path.name, others)
            raise DataError(f"{path}: no such file" + (f"; did you mean {close}?" if close else ""))
    for split in SPLITS:
        if split not in files and (root / f"{split}.json").is_file():
            files[split] = root / f"{split}.json"
    named = {"train", "val"} <= set(files)
    if not named:
        for split, path in _found_files(root).items():
            files.setdefault(split, path)
    if not files:
        return None
    if len(files) > 1:
        files.pop(WHOLE, None)
    _checked(root, "coco", {split: str(path.relative_to(root)) for split, path in files.items()})
    told = ", ".join(
        f"{split} {files[split].relative_to(root)}" for split in (*SPLITS, WHOLE) if split in files
    )
    readers = {split: partial(_read_coco, source, split, path) for split, path in files.items()}
    return Layout(f"COCO's layout: {told}", readers, plain=named and source.kind == "coco")


def _found_files(root: Path) -> dict[str, Path]:
    """Split -> the JSON file that is its, by names; the one that lies highest."""
    found: dict[str, list[Path]] = {}
    for depth in ("*.json", "*/*.json", "*/*/*.json"):
        level: dict[str, list[Path]] = {}
        for path in sorted(root.glob(depth)):
            inner = path.relative_to(root)
            if not NOT_BOXES.match(path.name) and not path.name.startswith(".") and _is_coco(path):
                level.setdefault(_split_of(inner), []).append(path)
        for split, paths in level.items():
            found.setdefault(split, paths)
    chosen = {}
    for split, paths in found.items():
        if len(paths) > 1:
            shown = ", ".join(str(path.relative_to(root)) for path in paths[:3])
            if split == WHOLE and "train" in found:
                continue
            keys = "train_file, val_file or test_file" if split == WHOLE else f"{split}_file"
            raise DataError(f"{root}: {len(paths)} files may be {split}: {shown}; name one by {keys}")
        chosen[split] = paths[0]
    return chosen


def _is_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096).replace(b"\0", b"")
    except OSError:
        return False
    return any(f'"{key}"'.encode() in head for key in ("images", "annotations", "categories", "info"))


def _read_coco(source: Source, split: str, path: Path) -> Annotations:
    return read_coco(path, ImageFinder(_image_folders(source, split, path)), source.skip_bad, source.segments)


def _image_folders(source: Source, split: str, path: Path) -> list[Path]:
    """Where images of a split may be, the likeliest first."""
    root, told = source.root, source.images.get(split, ".")
    if told != ".":
        return [root / told]
    stem = path.stem.removeprefix("instances_")
    own = [stem, *SPLIT_WORDS.get(split, ()), "default"]
    inner = [base / name for base in (root, root / "images") for name in own]
    beside = [path.parent] if path.parent != root else []
    return [
        *beside,
        root,
        *inner,
        root / "images",
        root / "data",
        root / "JPEGImages",
        path.parent / "images",
    ]


# -- YOLO ------------------------------------------------------------------------------------------------------


def _yolo(source: Source) -> Layout | None:
    root = source.root
    named = [root / "data.yaml", root / "dataset.yaml", *sorted(root.glob("*.y*ml"))]
    file = next((path for path in named if path.is_file() and b"names" in path.read_bytes()), None)
    lists = [root / name for name in ("classes.txt", "obj.names", "labels/classes.txt")]
    names = file or next((path for path in lists if path.is_file()), None)
    if names is None:
        return None
    places = yolo_places(file) if file else {}
    if "train" not in places:
        places = {**_yolo_folders(root), **places}
    if not places:
        return None
    shown = {split: ", ".join(_below(path, root) for path in paths) for split, paths in places.items()}
    _checked(root, "yolo", shown)
    classes = yolo_classes(names)
    told = ", ".join(f"{split} {shown[split]}" for split in shown)
    readers = {
        split: partial(read_yolo, paths, root, classes, names, source.skip_bad)
        for split, paths in places.items()
    }
    return Layout(f"YOLO's layout: {told}; classes of {names.name}", readers)


def _yolo_folders(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split, words in SPLIT_WORDS.items():
        for word in words:
            for place in (root / "images" / word, root / word / "images", root / f"{word}.txt", root / word):
                if place.is_file() or (place.is_dir() and list_images(place).images):
                    found.setdefault(split, [place])
    whole = [place for place in (root / "images", root) if place.is_dir() and list_images(place).images]
    return found or ({WHOLE: [whole[0]]} if whole else {})


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


# -- Pascal VOC ------------------------------------------------------------------------------------------------


def _voc(source: Source) -> Layout | None:
    root = source.root
    homes = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    home = next((place for place in homes if (place / "Annotations").is_dir()), None)
    sets: dict[str, list[Path]] = {}
    places: dict[str, Path] = {}
    if home is not None:
        annotations = home / "Annotations"
        for listing in sorted((home / "ImageSets" / "Main").glob("*.txt")):
            if listing.stem in ("train", "val", "test", "default"):
                split = _split_of(Path(listing.name))
                sets[split], places[split] = listed_files(listing, annotations), listing
        if not sets:
            sets[WHOLE], places[WHOLE] = sorted(annotations.rglob("*.xml")), annotations
    else:
        home = root
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            files = sorted(folder.rglob("*.xml"))
            split = _split_of(Path(folder.name))
            if files and split != WHOLE:
                sets[split], places[split] = files, folder
        whole = sorted(root.glob("*.xml"))
        if whole and not sets:
            sets[WHOLE], places[WHOLE] = whole, root
    if not any(sets.values()):
        return None
    shown = {split: str(place.relative_to(root)) for split, place in places.items()}
    _checked(root, "voc", shown)
    folders = (home / "JPEGImages", home / "images", home)
    readers = {
        split: partial(
            read_voc, places[split], files, ImageFinder((*_beside(files), *folders)), root, source.skip_bad
        )
        for split, files in sets.items()
    }
    told = ", ".join(f"{split} {place}" for split, place in shown.items())
    return Layout(f"Pascal VOC's layout: {told}", readers)


def _beside(files: Iterable[Path]) -> list[Path]:
    return [folder for folder in dict.fromkeys(file.parent for file in files) if list_images(folder).images]
