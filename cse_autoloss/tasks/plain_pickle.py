"""Data out of pickle files without running anything: numbers, text, lists, dictionaries and NumPy arrays, no more.

A pickle is a program that may call any function. `pickletools` only takes such a program apart; the few instructions
that build plain data are followed here, and the two functions that NumPy's arrays name are recognised by their names
and never looked up. Whatever else stands in a file is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from typing import Any

import numpy as np

from cse_autoloss.errors import DataError, shorten

_ARRAY = frozenset({"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"})
_NAMES = _ARRAY | {"numpy ndarray", "numpy dtype"}
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, Any] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINFLOAT", "FLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "UNICODE", "BINUNICODE8",
)  # fmt: skip
_BYTES = ("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_MARK = object()


class _Name(str):
    """A function or class that a file names."""


class _Array:
    """An array or data type that is still being built."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.dtype = name == "numpy dtype"
        self.value: Any = np.dtype(_text(args[0])) if self.dtype else None
        if self.value is not None and self.value.kind not in "biuf":
            raise ValueError(f"an array of {args[0]}")

    def build(self, state: tuple[Any, ...]) -> None:
        if self.dtype:
            order = _text(state[1])
            self.value = self.value.newbyteorder(order) if order in ("<", ">") else self.value
            return
        _, shape, dtype, fortran, content = state
        raw = content.encode("latin-1") if isinstance(content, str) else content
        array = np.frombuffer(raw, dtype.value)
        self.value = array.reshape(shape, order="F" if fortran else "C")


def read_plain_pickle(content: bytes, where: str) -> Any:
    """What a pickle file holds; text of Python 2 comes as bytes.

    Raises:
        DataError: a file that is no pickle or is cut off, or holds anything but plain data and arrays of numbers.
    """
    try:
        return _finished(_run(content))
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise DataError(
            f"{where}: not a pickle of plain data and arrays: {shorten(str(error), 100)}"
        ) from None


def _run(content: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for code, argument, _ in pickletools.genops(content):
        name = code.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack[-1]
        if name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument or 0)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_named(argument or " ".join(map(_text, _taken(stack, 2)))))
        else:
            _build(name, argument, stack)
    raise ValueError("it is cut off")


def _build(name: str, argument: Any, stack: list[Any]) -> None:
    """One instruction that makes data."""
    if name == "MARK":
        stack.append(_MARK)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _VALUES:
        stack.append(argument)
    elif name in _BYTES:
        stack.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(tuple(_taken(stack, int(name[-1]))))
    elif name in ("TUPLE", "LIST", "DICT"):
        items = _since_mark(stack)
        stack.append(_pairs(items) if name == "DICT" else tuple(items) if name == "TUPLE" else items)
    elif name in ("APPEND", "APPENDS"):
        items = _taken(stack, 1) if name == "APPEND" else _since_mark(stack)
        stack[-1].extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = _taken(stack, 2) if name == "SETITEM" else _since_mark(stack)
        stack[-1].update(_pairs(items))
    elif name == "REDUCE":
        called, args = _taken(stack, 2)
        stack.append(_called(called, args))
    elif name == "BUILD":
        (state,) = _taken(stack, 1)
        stack[-1].build(state)
    else:
        raise ValueError(f"the instruction {name}")


def _named(name: str) -> _Name:
    if name not in _NAMES and name != "_codecs encode":
        raise ValueError(f"it calls {name}")
    return _Name(name)


def _called(called: Any, args: tuple[Any, ...]) -> Any:
    if called == "_codecs encode" and isinstance(called, _Name):  # how protocol 2 writes bytes
        return args[0].encode("latin-1")
    if not isinstance(called, _Name) or called == "numpy ndarray":
        raise ValueError(f"it calls {called!r}")
    return _Array(called, args)


def _taken(stack: list[Any], count: int) -> list[Any]:
    taken = stack[-count:]
    del stack[-count:]
    return taken


def _since_mark(stack: list[Any]) -> list[Any]:
    place = len(stack) - 1 - next(i for i, one in enumerate(reversed(stack)) if one is _MARK)
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {_finished(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _finished(value: Any) -> Any:
    """The value, with arrays in the place of what built them, one level deep in lists and dictionaries."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_finished(key): _finished(item) for key, item in value.items()}
    return [_finished(item) for item in value] if isinstance(value, list) else value
