"""YAML for configurations, less its traps: values mean what they look like, and a file can do no harm.

Against PyYAML's `safe_load`: ``1e-3`` is a number; ``yes``, ``off``, ``1:30`` and ``2026-01-01`` are text, as
in YAML 1.2; a key given twice, aliases (a few lines of which can unfold to gigabytes), deep nesting and files
above 64 KiB are refused, and so are tags (``!!bool``), of which the values of a configuration need none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from cse_autoloss.errors import ConfigError, shorten

MOST_BYTES: Final = 1 << 16
_MOST_LEVELS: Final = 20
_PLAIN: Final = (
    ("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own way of declaring it)
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not taken", problem_mark=mark)
        self.level += 1
        if self.level > _MOST_LEVELS:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {_MOST_LEVELS} levels deep",
                problem_mark=self.peek_event().start_mark,
            )
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise yaml.MarkedYAMLError(
                problem=f"tags ({shorten(event.tag)}) are not taken", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in mapping:
                raise yaml.MarkedYAMLError(
                    problem=f"key {shorten(key.value)!r} is given twice", problem_mark=key.start_mark
                )
            mapping[key.value] = self.construct_object(value, deep=deep)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_float(self, node: yaml.ScalarNode) -> float:
        return float(self.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Quotes what either this module or YAML 1.1 would take for something else than text."""


for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file holds; an empty file is an empty mapping.

    Raises:
        ConfigError: the file can't be read, or isn't a mapping in this YAML; names file and line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: larger than {MOST_BYTES} bytes, which no configuration is")
    return parse_yaml(content, path.name)


def parse_yaml(content: bytes | str, name: str) -> dict[str, Any]:
    """The mapping that a text holds; `name` stands for it in errors."""
    try:
        if len(content) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES} bytes, which no configuration is")
        value = yaml.load(content, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{name}{place}: not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: expected 'key: value' lines, got {type(value).__name__}")
    return value


def dump_yaml(value: dict[str, Any]) -> str:
    """YAML text that `parse_yaml` reads back as the same value."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True)
    return text
