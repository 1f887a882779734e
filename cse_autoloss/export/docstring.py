"""What an exported file says of itself: text from outside, made safe to stand in Python source."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from cse_autoloss.errors import AutoLossError

MAX_ENTRIES = 60
MAX_VALUE = 300


def escaped(text: str) -> str:
    """`text` on one line, harmless inside a docstring.

    No double quote, backslash, line break or invisible character of it reaches the source unescaped.
    """
    out = []
    for character in text:
        if character in '\\"':
            out.append("\\" + character)
        elif character.isprintable():
            out.append(character)
        else:
            out.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(out)


def provenance_lines(provenance: Mapping[str, Any] | None, width: int = 100) -> list[str]:
    """One escaped line (wrapped where long) an entry, `key  value`.

    A mapping with `mean`, `low` and `high` reads `0.512 [0.498, 0.526]`; other values are shown as JSON.

    Raises:
        AutoLossError: more than 60 entries, or a value that JSON can't hold.
    """
    entries = dict(provenance or {})
    if len(entries) > MAX_ENTRIES:
        raise AutoLossError(f"provenance has {len(entries)} entries; at most {MAX_ENTRIES} are taken")
    if not entries:
        return []
    column = min(max(len(str(key)) for key in entries), 24)
    lines: list[str] = []
    for key, value in entries.items():
        text = _shown(str(key), value)
        text = text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
        label = escaped(str(key)[:40]).ljust(column)
        # Wrapped before escaping, so that no escape is cut in two.
        parts = textwrap.wrap(text, max(width - column - 2, 20)) or [""]
        lines += [f"{label if i == 0 else ' ' * column}  {escaped(part)}" for i, part in enumerate(parts)]
    return lines


def wrapped_formula(formula: str, width: int = 100) -> list[str]:
    """The prefix formula on several lines, broken after commas; white space in a formula is free."""
    lines, line = [], ""
    for piece in formula.replace(",", ",\0").split("\0"):
        if line and len(line) + len(piece) > width:
            lines.append(line)
            line = ""
        line += piece
    return [*lines, line]


def wrapped_latex(latex: str, width: int = 100) -> list[str]:
    """LaTeX on several lines, broken where mathematics mode ignores it: after a space or before a command."""
    lines, line = [], ""
    for piece in re.split(r"(?<= )|(?=\\[a-zA-Z])", latex):
        if line and len(line) + len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line]


def _shown(key: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and {"mean", "low", "high"} <= set(value):
        rest = {k: v for k, v in value.items() if k not in ("mean", "low", "high")}
        try:
            text = f"{float(value['mean']):.4f} [{float(value['low']):.4f}, {float(value['high']):.4f}]"
        except (TypeError, ValueError):
            raise AutoLossError(f"provenance {key!r}: mean, low and high are numbers") from None
        words = [f"{name} {inner}" for name, inner in rest.items() if isinstance(inner, str)]
        others = {name: inner for name, inner in rest.items() if not isinstance(inner, str)}
        return " ".join([text, *words, *([_json(key, others)] if others else [])])
    return _json(key, value)


def _json(key: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise AutoLossError(f"provenance {key!r}: JSON can not hold a {type(value).__name__}") from None
