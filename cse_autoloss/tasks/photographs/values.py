"""Values as annotation files of many programs have them: 96.0 for 96, "7" for 7, text with odd characters."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from cse_autoloss.errors import DataError, nearest
from cse_autoloss.tasks.photographs.faults import BadItem, shown

_DIGITS = 300
"""Longer whole numbers are no number that anybody meant: they are read as infinite, which every check refuses."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUTH = {"0": False, "1": True, "false": False, "true": True}


class Numbers:
    """Ids as whole numbers: those that are, as 7, 7.0 or "7", stay; texts are numbered as they come."""

    _FIRST = 1 << 40

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def of(self, item: Any, key: str) -> int:
        """The id under `key`."""
        found = value(item, key)
        if isinstance(found, str) and found.strip() and not _is_whole_text(found):
            return self._texts.setdefault(found, self._FIRST + len(self._texts))
        return whole(item, key)


def value(item: Any, key: str) -> Any:
    """What an object of a JSON file has under `key`."""
    if not isinstance(item, dict):
        raise BadItem("not an object", f"expected an object, got {shown(item)}")
    if key not in item:
        close = nearest(key, item)
        raise BadItem(f"no {key}", f"missing key {key!r}" + (f"; did you mean {close!r}?" if close else ""))
    return item[key]


def whole(item: Any, key: str) -> int:
    """A whole number: 96, 96.0 or "96"."""
    found = value(item, key)
    if isinstance(found, str) and _is_whole_text(found):
        found = float(found) if "." in found else int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) >= 1 << 62:
        raise BadItem(f"wrong {key}", f"{key}: expected a whole number, got {shown(found)}")
    return found


def flag(item: dict[str, Any], key: str) -> bool:
    """0 or 1, also as text or as false and true; false where there is nothing."""
    found = item.get(key)
    if found is None or found == "":
        return False
    if isinstance(found, bool | int | float) and found in (0, 1):
        return bool(found)
    if isinstance(found, str) and found.strip().lower() in _TRUTH:
        return _TRUTH[found.strip().lower()]
    raise BadItem(f"wrong {key}", f"{key}: expected 0 or 1, got {shown(found)}")


def label(text: Any) -> str:
    """A class's name in any script, on one line, and such as can be written again."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise BadItem("wrong name", f"name: expected a text, got {shown(text)}")
    name = _CONTROL.sub(lambda sign: repr(sign[0])[1:-1], " ".join(str(text).split()))
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    if not name:
        raise BadItem("wrong name", "name: expected a text, got an empty one")
    return name


def four_numbers(box: Any, expected: str) -> tuple[float, float, float, float]:
    """Finite numbers; numbers as text are taken too."""
    numbers = [_number(one) for one in box] if isinstance(box, list | tuple) else []
    if len(numbers) != 4 or None in numbers:
        raise BadItem("wrong bbox", f"bbox: expected {expected}, got {shown(box)}")
    if not all(math.isfinite(one) for one in numbers if one is not None):
        raise BadItem("bbox not finite", f"bbox {shown(box)} is not finite")
    a, b, c, d = (float(one) for one in numbers if one is not None)
    return a, b, c, d


def _number(one: Any) -> float | None:
    if isinstance(one, bool) or not isinstance(one, int | float | str):
        return None
    try:
        return float(one)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def _is_whole_text(text: str) -> bool:
    return len(text) < 20 and re.fullmatch(r"\s*-?[0-9]+(\.0*)?\s*", text, re.ASCII) is not None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, of whatever of Unicode's encodings, with or without a byte order mark.

    Raises:
        DataError: it can not be read, in one line.
    """
    try:
        content = json.loads(path.read_bytes(), parse_int=_int)
    except FileNotFoundError:
        present = [other.name for other in path.parent.glob("*.json")] if path.parent.is_dir() else []
        close = nearest(path.name, present)
        raise DataError(f"{path}: no such file" + (f"; did you mean {close}?" if close else "")) from None
    except OSError as error:
        raise DataError(f"{path}: can not be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: broken JSON at {where}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with images, annotations and categories")
    return content


def _int(text: str) -> int | float:
    return int(text) if len(text) < _DIGITS else math.copysign(math.inf, -1 if text[0] == "-" else 1)
