"""Fonts for names in any script: the one that comes with matplotlib, else one of this machine's that has all signs.

No box ever stands for a sign that is missing: what no font has is shown by a class's number, or as `\\u732b`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

from cse_autoloss.errors import printable

RIGHT_TO_LEFT = ("R", "AL")
"""Unicode's classes of signs that are written from right to left."""


def fitting(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """A font, and what it shows of a text: the text itself where some font has all of its signs."""
    text = unicodedata.normalize("NFC", text)
    for shown in (text, text.replace("✗", "x")):  # a script's own font may lack the cross
        file = font_file(shown)
        if file is not None:
            return _font(file, size), shown
    return _font(_own(), size), escaped(text)


def escaped(text: str) -> str:
    """A text as matplotlib's own font can show it."""
    known = _signs(_own())
    return "".join(s if ord(s) in known else s.encode("ascii", "backslashreplace").decode() for s in text)


def shown_names(class_names: Sequence[str]) -> tuple[list[str], str]:
    """Classes as pictures call them, and a line on those that no font here can write; empty where there are none."""
    lacking = [
        at for at, name in enumerate(class_names) if font_file(unicodedata.normalize("NFC", name)) is None
    ]
    if not lacking:
        return list(class_names), ""
    names = [f"class {at}" if at in lacking else name for at, name in enumerate(class_names)]
    told = ", ".join(f"{at} is {printable(class_names[at])}" for at in lacking[:8])
    more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
    count = f"{len(lacking)} class{'es' if len(lacking) > 1 else ''}"
    return names, f"no font of this machine has the names of {count}, so pictures show numbers: {told}{more}"


@cache
def font_file(text: str) -> Path | None:
    """A font that has all signs of a text; None where there is none, or it can not be written in its order here."""
    turned = any(unicodedata.bidirectional(sign) in RIGHT_TO_LEFT for sign in text)
    joined = any(unicodedata.category(sign) in ("Mn", "Mc") for sign in text)
    if (turned or joined) and not (features.check("raqm") and features.check("fribidi")):
        return None
    needed = {ord(sign) for sign in text}
    return next((file for file in _fonts() if needed <= _signs(file)), None)


def _fonts() -> Iterator[Path]:
    """matplotlib's own, then this machine's, upright ones of normal weight first."""
    yield _own()
    from matplotlib.font_manager import fontManager  # looks at all fonts where it never did

    others = [one for one in fontManager.ttflist if "Last Resort" not in one.name]  # its signs are boxes
    others.sort(key=lambda one: (one.style != "normal", str(one.weight) not in ("400", "normal"), one.name))
    yield from (Path(one.fname) for one in others)


def _own() -> Path:
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def _signs(file: Path) -> frozenset[int]:
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)
