"""Read Pascal VOC's layout: an XML file for each image, and ImageSets/Main/SPLIT.txt, which lists a split's images.

Corners are taken as they stand, as LabelImg, CVAT and most programs write them. The files of the VOC challenges
themselves, which name their database, count pixels from 1 to the last one inside: there the upper left corner is
moved by a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs.annotations import Annotations, Entry, Objects
from cse_autoloss.tasks.photographs.faults import BadItem, Faults
from cse_autoloss.tasks.photographs.names import ImageFinder
from cse_autoloss.tasks.photographs.values import label, whole

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    place: Path, files: Sequence[Path], finder: ImageFinder, root: Path, skip_bad: bool = False
) -> Annotations:
    """The split of some XML files; `place` stands for it in messages. Classes are numbered by name.

    Raises:
        DataError: in one line: the file, the object in it, what is wrong.
    """
    found = Annotations(place, Faults(place, skip_bad))
    numbers: dict[str, int] = {}
    bad: set[int] = set()
    for number, file in enumerate(files):
        where = str(file.relative_to(root))
        with found.faults.item(where, bad, number):
            tree = _tree(file)
            name = tree.findtext("filename") or f"{file.stem}.jpg"
            found.images[number] = Entry(
                _image(finder, name, file), name, where, _pixels(tree, "width"), _pixels(tree, "height")
            )
            found.objects[number] = Objects()
            shift = 1.0 if "VOC" in (tree.findtext("source/database") or "") else 0.0
            for row, item in enumerate(tree.iter("object"), 1):
                what = f"{where}: object {row}"
                with found.faults.item(what, bad, number):
                    category = label(item.findtext("name"))
                    corners = [item.findtext(f"bndbox/{key}") for key in CORNERS]
                    if shift and None not in corners:
                        corners[:2] = [str(float(str(one)) - shift) for one in corners[:2]]
                    at = numbers.setdefault(category, len(numbers))
                    ignored = (item.findtext("difficult") or "").strip() == "1"
                    found.add(number, corners, at, ignored, what, corners=True)
    found.categories = {number: name for name, number in numbers.items()}
    found.leave_out(bad)
    difficult = sum(sum(own.crowd) for own in found.objects.values())
    if difficult:
        found.faults.remarks.append(
            f"{difficult} objects are marked difficult: neither objects nor background, as the challenge scores them"
        )
    return found


def listed_files(listing: Path, annotations: Path) -> list[Path]:
    """The XML files of an ImageSets file; a name on each line, and behind it perhaps a number.

    Raises:
        DataError: a file that is listed is not there.
    """
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: can not be read: {error}") from None
    files = []
    for row, line in enumerate(lines, 1):
        if line.strip():
            name = line.strip() if (annotations / f"{line.strip()}.xml").is_file() else line.split()[0]
            file = annotations / f"{name.removesuffix('.xml')}.xml"
            if not file.is_file():
                raise DataError(f"{listing}: line {row}: {file} does not exist")
            files.append(file)
    return files


def _tree(file: Path) -> ElementTree.Element:
    try:
        text = file.read_bytes()
        if (
            b"<!ENTITY" in text or b"<!DOCTYPE" in text
        ):  # could grow without end, and no annotation needs them
            raise BadItem("broken XML", "holds a document type, which is not read")
        return ElementTree.fromstring(text)
    except OSError as error:
        raise BadItem("broken XML", f"can not be read: {error.strerror}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise BadItem("broken XML", f"broken XML: {error}") from None


def _image(finder: ImageFinder, name: str, file: Path) -> Path:
    """By the name in the file, or else by the file's own, as programs that rename both leave it."""
    try:
        return finder.find(name)
    except BadItem as bad:
        for suffix in (Path(name).suffix, ".jpg", ".png", ".jpeg"):
            try:
                return finder.find(file.stem + suffix)
            except BadItem:
                continue
        raise bad from None


def _pixels(tree: ElementTree.Element, key: str) -> int:
    """0 where the file does not tell; some programs write 0 then."""
    text = tree.findtext(f"size/{key}")
    return max(whole({key: text}, key), 0) if text and text.strip() else 0
