"""Small data sets with boxes in COCO's, YOLO's and Pascal VOC's layouts, and folders of classes, changed in one way
each, from a seed.

A *harmless* change is what other programs, machines and people do to a data set without making it another: it must
read as the same arrays. A *fault* must end in one line that names a file; with `skip_bad` what is left must be as it
was.

    python tests/mutated_data.py --count 2000
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mutated_folders
from boxed_samples import (
    PLACES,
    SIZE,
    Content,
    Sample,
    sample,
    write_coco,
    write_voc,
    write_yolo,
)
from PIL import Image

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs import Source, load_dataset, to_splits


def _each(key: str, edit: Callable[[Content], Any]) -> Callable[[str, Content, Path], None]:
    def change(split: str, content: Content, folder: Path) -> None:
        for item in content[key]:
            edit(item)

    return change


def _ids(convert: Callable[[int], Any]) -> Callable[[str, Content, Path], None]:
    def change(split: str, content: Content, folder: Path) -> None:
        for key, names in (("images", ("id",)), ("categories", ("id",))):
            for item in content[key]:
                item.update({name: convert(item[name]) for name in names})
        for item in content["annotations"]:
            item.update({name: convert(item[name]) for name in ("image_id", "category_id")})

    return change


def _shuffled(split: str, content: Content, folder: Path) -> None:
    for key in ("images", "categories"):
        content[key].reverse()
    content["annotations"].sort(key=lambda item: -item["image_id"])


def _pictures(save: Callable[[Image.Image, Path], Any]) -> Callable[[str, Content, Path], None]:
    def change(split: str, content: Content, folder: Path) -> None:
        for item in content["images"]:
            path = folder / Path(item["file_name"]).name
            with Image.open(path) as image:
                image.load()
            save(image, path)

    return change


def _turned(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def _linked(image: Image.Image, path: Path) -> None:
    store = path.parent.parent / f"store {path.parent.name}"
    store.mkdir(exist_ok=True)
    shutil.move(path, store / path.name)
    path.symlink_to(store / path.name)


HARMLESS_COCO: dict[str, Callable[[str, Content, Path], Any]] = {
    "as it is": lambda split, content, folder: None,
    "byte order mark": lambda split, content, folder: b"\xef\xbb\xbf" + json.dumps(content).encode(),
    "utf-16": lambda split, content, folder: json.dumps(content).encode("utf-16"),
    "whole floats": _ids(float),
    "text ids": _ids(str),
    "named ids": _ids("item {}".format),
    "large ids": _ids(lambda number: number * 10**9),
    "no sizes": _each("images", lambda item: (item.pop("width"), item.update(height=None))),
    "float sizes": _each("images", lambda item: item.update(width=48.0, height="32")),
    "windows paths": _each("images", lambda item: item.update(file_name="D:\\set\\" + item["file_name"])),
    "paths of elsewhere": _each(
        "images", lambda item: item.update(file_name="/home/me/x/" + item["file_name"])
    ),
    "composed names": _each(
        "images", lambda i: i.update(file_name=unicodedata.normalize("NFD", i["file_name"]))
    ),
    "upper case": _each(
        "images", lambda item: item.update(file_name=item["file_name"].replace(".png", ".PNG"))
    ),
    "root category": lambda split, content, folder: content["categories"].append({"id": 0, "name": "parts"}),
    "root of a class's name": lambda split, content, folder: content["categories"].append(
        {"id": 9, "name": "nut"}
    ),
    "twins": lambda split, content, folder: content["annotations"].append(
        content["annotations"][0] | {"id": 99}
    ),
    "crowd as text": _each("annotations", lambda item: item.update(iscrowd="0")),
    "crowd as false": _each("annotations", lambda item: item.update(iscrowd=False)),
    "no crowd flag": _each("annotations", lambda item: item.pop("iscrowd")),
    "box as text": _each("annotations", lambda item: item.update(bbox=[str(one) for one in item["bbox"]])),
    "other order": _shuffled,
    "more keys": _each("annotations", lambda item: item.update(segmentation=None, area=None, attributes={})),
    "rgba": _pictures(lambda image, path: image.convert("RGBA").save(path)),
    "palette": _pictures(lambda image, path: image.quantize(64).save(path)),
    "turned": _pictures(_turned),
    "tiff": _pictures(lambda image, path: image.save(path, format="TIFF")),
    "bmp": _pictures(lambda image, path: image.save(path, format="BMP")),
    "links": _pictures(_linked),
}


def _one(key: str, edit: Callable[[Content], Any], of: str = "train") -> Callable[[str, Content, Path], None]:
    def change(split: str, content: Content, folder: Path) -> None:
        if split == of:
            edit(content[key][1])

    return change


def _bad_picture(content_of: Callable[[bytes], bytes]) -> Callable[[str, Content, Path], None]:
    def change(split: str, content: Content, folder: Path) -> None:
        path = folder / Path(content["images"][1]["file_name"]).name
        if split == "train":
            path.write_bytes(content_of(path.read_bytes()))

    return change


def _only(of: str, edit: Callable[[Content], Any]) -> Callable[[str, Content, Path], Any]:
    def change(split: str, content: Content, folder: Path) -> Any:
        return edit(content) if split == of else None

    return change


FAULTS_COCO: dict[str, Callable[[str, Content, Path], Any]] = {
    "unknown image": _one("annotations", lambda item: item.update(image_id=999)),
    "unknown category": _one("annotations", lambda item: item.update(category_id=999)),
    "three numbers": _one("annotations", lambda item: item["bbox"].pop()),
    "not a number": _one("annotations", lambda item: item["bbox"].__setitem__(2, float("nan"))),
    "infinite": _one("annotations", lambda item: item["bbox"].__setitem__(0, float("inf"))),
    "words": _one("annotations", lambda item: item.update(bbox="all of it")),
    "no area": _one("annotations", lambda item: item["bbox"].__setitem__(2, 0)),
    "negative": _one("annotations", lambda item: item["bbox"].__setitem__(3, -4)),
    "outside": _one("annotations", lambda item: item.update(bbox=[900, 3, 4, 5])),
    "no box": _one("annotations", lambda item: item.pop("bbox")),
    "odd crowd": _one("annotations", lambda item: item.update(iscrowd="maybe")),
    "digits": lambda split, c, folder: (
        json.dumps(c).replace('"bbox": [', '"bbox": [' + "7" * 5000, 1).encode()
    ),
    "file missing": _one("images", lambda item: item.update(file_name="nowhere.png")),
    "file elsewhere": _one("images", lambda item: item.update(file_name="../../etc/passwd")),
    "nul": _one("images", lambda item: item.update(file_name="a\0b.png")),
    "surrogate": _one("images", lambda item: item.update(file_name="\ud800.png")),
    "long name": _one("images", lambda item: item.update(file_name="x" * 5000)),
    "number for a name": _one("images", lambda item: item.update(file_name=7)),
    "other size": _one("images", lambda item: item.update(width=480)),
    "no such size": _one("images", lambda item: item.update(height=-2)),
    "image id twice": _one("images", lambda item: item.update(id=1)),
    "file twice": lambda s, c, f: c["images"][1].update(file_name=c["images"][0]["file_name"]),
    "truncated": _bad_picture(lambda content: content[: len(content) // 2]),
    "no image": _bad_picture(lambda content: b"nothing"),
    "empty image": _bad_picture(lambda content: b""),
    "broken json": _only("val", lambda content: json.dumps(content).encode()[:-9]),
    "deep json": _only("val", lambda content: b"[" * 100_000),
    "a list": _only("val", lambda content: b"[1, 2]"),
    "no images": _only("val", lambda content: content.pop("images") and None),
    "no val boxes": _only("val", lambda content: content.update(annotations=[])),
    "crowds alone": _only(
        "val", lambda content: [item.update(iscrowd=1) for item in content["annotations"]] and None
    ),
    "no val": lambda split, content, folder: b"not wanted" if split == "val" else None,
    "parts": _each("annotations", lambda item: item.update(bbox=[one / 64 for one in item["bbox"]])),
    "corners": _each(
        "annotations",
        lambda i: i.update(bbox=[*i["bbox"][:2], *(a + b for a, b in zip(i["bbox"], i["bbox"][2:]))]),
    ),
    "unknown class in val": _only("val", lambda content: content["categories"][1].update(name="washer")),
    "other ids in val": _only(
        "val",
        lambda c: (
            [i.update(id=i["id"] - 1) for i in c["categories"]]
            and [i.update(category_id=i["category_id"] - 1) for i in c["annotations"]]
            and None
        ),
    ),
}
YoloChange = Callable[[str, str, list[str]], Any]


def _outlines(split: str, name: str, lines: list[str]) -> None:
    for row, line in enumerate(lines):
        label, cx, cy, w, h = line.split()
        x0, x1 = float(cx) - float(w) / 2, float(cx) + float(w) / 2
        y0, y1 = float(cy) - float(h) / 2, float(cy) + float(h) / 2
        lines[row] = f"{label} {x0:.6f} {y0:.6f} {x1:.6f} {y0:.6f} {x1:.6f} {y1:.6f} {x0:.6f} {y1:.6f}"


HARMLESS_YOLO: dict[str, YoloChange] = {
    "as it is": lambda split, name, lines: None,
    "outlines": _outlines,
    "twins": lambda split, name, lines: lines.extend(lines[:1]),
    "blanks": lambda split, name, lines: lines.__setitem__(
        slice(None), [f"  {line}\t\r" for line in lines] + ["", " "]
    ),
    "byte order mark": lambda split, name, lines: lines.__setitem__(
        slice(0, 1), [f"\ufeff{one}" for one in lines[:1]]
    ),
    "scores": lambda split, name, lines: lines.__setitem__(slice(None), [f"{line} 0.9" for line in lines]),
    "float classes": lambda split, name, lines: lines.__setitem__(
        slice(None), [line.replace(" ", ".0 ", 1) for line in lines]
    ),
}


def _line(text: str) -> YoloChange:
    def change(split: str, name: str, lines: list[str]) -> None:
        if split == "train" and lines and name.endswith("1.png"):
            lines[0] = text

    return change


FAULTS_YOLO: dict[str, YoloChange] = {
    "unknown class": _line("7 0.5 0.5 0.2 0.2"),
    "pixels": _line("0 20 12 9 9"),
    "words": _line("bolt 0.5 0.5 0.2 0.2"),
    "three numbers": _line("0 0.5 0.5 0.2"),
    "no area": _line("0 0.5 0.5 0.2 0"),
    "not a number": _line("0 nan 0.5 0.2 0.2"),
    "half a class": _line("0.5 0.5 0.5 0.2 0.2"),
    "a hundred digits": _line("0 " + "9" * 5000 + " 0.5 0.2 0.2"),
}
HARMLESS_VOC: dict[str, Callable[[str, str, str], str]] = {
    "as it is": lambda split, name, text: text,
    "no size": lambda split, name, text: text.replace("<size>", "<was>").replace("</size>", "</was>"),
    "size of nought": lambda split, name, text: text.replace("<width>48", "<width>0"),
    "a path": lambda split, name, text: text.replace("<filename>", "<filename>C:\\me\\"),
    "no file name": lambda split, name, text: text.replace("filename>", "was>"),
    "more elements": lambda split, name, text: text.replace(
        "<bndbox>", "<pose>Left</pose><difficult>0</difficult><bndbox>"
    ),
}


def _in_xml(before: str, after: str) -> Callable[[str, str, str], str]:
    return lambda split, name, text: (
        text.replace(before, after, 1) if split == "train" and name.endswith("1.png") else text
    )


FAULTS_VOC: dict[str, Callable[[str, str, str], str]] = {
    "broken": _in_xml("</annotation>", ""),
    "no corner": _in_xml("<xmin>", "<xmin></xmin><was>"),
    "no corners": _in_xml("bndbox>", "was>"),
    "words": _in_xml("<xmax>", "<xmax>far "),
    "turned over": _in_xml("<ymax>", "<ymax>-"),
    "no class": _in_xml("<name>", "<name></name><name>"),
    "other size": _in_xml("<width>48", "<width>480"),
    "entities": _in_xml("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>'),
}


# -- what must come of them ------------------------------------------------------------------------------------


NOT_TO_BE_SEEN = ("corners", "unknown image")
"""What `skip_bad` can not mend without a guess: it is told, and the rest is taken as it stands."""


@dataclass(frozen=True)
class Case:
    """One data set: `write` makes it in a folder; `harmless` says what must come of it."""

    name: str
    harmless: bool
    write: Callable[[Sample, Path], None]
    kind: str


def cases() -> list[Case]:
    """Every change in every layout."""

    def coco(
        layout: str, change: Callable[[str, Content, Path], Any], drop: bool
    ) -> Callable[[Sample, Path], None]:
        def write(made: Sample, root: Path) -> None:
            write_coco(made, root, layout, change)
            if drop:
                for path in root.rglob("*.json"):
                    if path.read_bytes() == b"not wanted":
                        path.unlink()

        return write

    found = []
    for layout in PLACES:
        for harmless, table in ((True, HARMLESS_COCO), (False, FAULTS_COCO)):
            for name, change in table.items():
                found.append(
                    Case(f"coco {layout}: {name}", harmless, coco(layout, change, name == "no val"), "coco")
                )
    for harmless, lines in ((True, HARMLESS_YOLO), (False, FAULTS_YOLO)):
        for name, edit in lines.items():
            for nested in (False, True):
                write = lambda made, root, edit=edit, nested=nested: write_yolo(made, root, edit, nested)  # noqa: E731
                found.append(Case(f"yolo {'nested' if nested else 'plain'}: {name}", harmless, write, "yolo"))
    for harmless, texts in ((True, HARMLESS_VOC), (False, FAULTS_VOC)):
        for name, spoil in texts.items():
            write = lambda made, root, spoil=spoil: write_voc(made, root, spoil)  # noqa: E731
            found.append(Case(f"voc: {name}", harmless, write, "voc"))
    return found


def arrays(
    root: str, cache: Path, skip_bad: bool = False
) -> dict[str, list[tuple[bytes, list[Any], list[int]]]]:
    """Split -> pixels, boxes and classes of each image, in the order of the pixels."""
    splits = to_splits(load_dataset(Source.of(root, skip_bad=skip_bad), cache), SIZE[0], 8)
    told = {}
    for name, split in splits.items():
        rows = zip(split.images, split.boxes, split.labels, strict=True)
        told[name] = sorted((i.tobytes(), b[c >= 0].tolist(), c[c >= 0].tolist()) for i, b, c in rows)
    return told


def verdict(case: Case, seed: int, folder: Path) -> str:
    """What is wrong with how a case ends; empty where all is right."""
    made = sample(seed)
    clean, root, cache = folder / "clean", folder / "mutated", folder / "cache"
    root.mkdir()
    write_coco(made, clean, "plain", HARMLESS_COCO["as it is"])
    case.write(made, root)
    expected = arrays(f"coco:{clean}", cache)
    data = (str(root), f"{case.kind}:{root}")[seed % 2]
    try:
        found = arrays(data, cache)
    except DataError as error:
        if case.harmless:
            return f"refused: {error}"
        if "\n" in str(error) or str(root) not in str(error):
            return f"the line names no file: {error}"
    else:
        if not case.harmless:
            return "was read"
        return "" if found == expected else "reads as other arrays"
    try:
        left = arrays(data, cache, skip_bad=True)
    except DataError as error:
        return "" if "\n" not in str(error) else f"several lines: {error}"
    if case.name.endswith(NOT_TO_BE_SEEN):
        return ""
    whole = {image: (boxes, labels) for rows in expected.values() for image, boxes, labels in rows}
    wrong = [
        1 for rows in left.values() for image, boxes, labels in rows if whole.get(image) != (boxes, labels)
    ]
    return f"{len(wrong)} images that are left have lost objects" if wrong else ""


def main() -> None:
    """Run so many cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    every: list[tuple[str, bool, Callable[[int, Path], str]]] = [
        (case.name, case.harmless, partial(verdict, case)) for case in cases()
    ]
    for name in (*mutated_folders.HARMLESS, *mutated_folders.FAULTS):
        told = partial(mutated_folders.verdict, name)
        every.append((f"folder: {name}", name in mutated_folders.HARMLESS, told))
    started, tally = time.perf_counter(), Counter[str]()
    for seed in range(count):
        name, harmless, check = every[seed % len(every)]
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(seed // len(every) + seed, Path(folder))
        tally["wrong" if wrong else "same arrays" if harmless else "one line"] += 1
        if wrong:
            print(f"{name} (seed {seed}): {wrong}", flush=True)
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(tally.items()))
    print(f"{count:,} data sets of {len(every)} kinds: {told}; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
