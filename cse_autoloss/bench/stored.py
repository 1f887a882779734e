"""A run's configuration, into its store and back out of it.

What comes out may be another person's: it is checked against the schema like any file, and where it names a Python file
(a detector, task or search as FILE.py:NAME), that is run only if the person at this command names it again, and only if
it still is what the run was made with. A folder that it would write into, outside of the run, is left out; a cluster
that it would join, and whose answers Ray unpickles, is joined only if it is named again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cse_autoloss.errors import ConfigError, RunError, printable, shorten
from cse_autoloss.plugins import file_named
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.fields import unwritten
from cse_autoloss.settings.load import SearchConfig, parse_config
from cse_autoloss.settings.papers import LETTER
from cse_autoloss.tasks.registry import section_of

CODE: Final = "code"
"""Where a store keeps the digests of the files that its configuration names."""
_KEYS: Final = ("task", "search", "detector")
"""Settings that may name a file; the option that names it again is called so too."""


def named_again(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options of a command that goes on with a run, without those that name a file again; and these files."""
    code = {
        key: value
        for key, value in overrides.items()
        if key.rpartition(".")[2] in _KEYS and isinstance(value, str) and file_named(value) is not None
    }
    return {key: value for key, value in overrides.items() if key not in code}, tuple(code.values())


def create_run(directory: Path, values: Mapping[str, Any]) -> RunStore:
    """A new run's store, with the digests of the files that its configuration names; errors as of `RunStore.create`."""
    return RunStore.create(directory, values, {CODE: _digests(values)})


def keep_config(store: RunStore, values: Mapping[str, Any]) -> None:
    """Keeps another configuration, which is the person's at this command."""
    with store.transaction():
        store.set_meta("config", dict(values))
        store.set_meta(CODE, _digests(values))


def stored_config(
    store: RunStore,
    code: Collection[str] = (),
    values: Mapping[str, Any] | None = None,
    *,
    searches: bool = False,
    trains: bool = True,
    cluster: str | None = None,
) -> SearchConfig:
    """The configuration of a run, without the folders outside of it that it would write into.

    Args:
        store: of the run.
        code: each FILE.py:NAME that the person at the command lets run. The file may have moved since.
        values: of the configuration, where they aren't the whole of what the store keeps.
        searches: whether the search that it names will be made.
        trains: whether its executor will be made.
        cluster: address of the Ray cluster that the person at the command lets it join; None is that of RAY_ADDRESS.

    Raises:
        RunError: it isn't whole or not valid, or names a file or a cluster that was not named again, or a file that
            has changed.
    """
    values = store.config if values is None else values
    kept = store.meta(CODE, {})
    digests = kept if isinstance(kept, dict) else {}
    run = [(key, name) for key, name in _files(values) if searches or key != "search"]
    named = {name: _again(store, key, name, code, digests.get(name)) for key, name in run}
    if not all(isinstance(values.get(key), str) for key in ("task", "search")):
        raise RunError(f"{store.directory}: run.sqlite is damaged: its configuration names no task or search")
    try:
        config = parse_config(_renamed(values, named), section=section_of)
    except ConfigError as error:
        first, *_ = str(error).splitlines()
        if LETTER in first:
            raise RunError(
                f"{store.directory}: an earlier version made it with reinforce.paper, which asks for more today "
                f"({first}); begin a new run; `report` and `export` still read this one"
            ) from None
        raise RunError(f"{store.directory}: run.sqlite is damaged: {first}") from None
    return _joining(store, unwritten(config), cluster, trains)


def _joining(store: RunStore, config: SearchConfig, cluster: str | None, trains: bool) -> SearchConfig:
    """With the cluster that the person named, if any, in place of the run's."""
    kept, named = config.ray.address, cluster or os.environ.get("RAY_ADDRESS")
    if kept is None:
        return config
    if trains and config.executor == "ray" and not named:
        shown = printable(shorten(kept, 300))
        raise RunError(
            f"{store.directory}: the run names a Ray cluster to join, {shown}; if it is yours, name it again by "
            f"--set ray.address={shown} or RAY_ADDRESS={shown}"
        )
    return config.model_copy(update={"ray": config.ray.model_copy(update={"address": named})})


def identity(name: str) -> str:
    """What a plug-in's name says of results: of a file its content, wherever it lies."""
    return name if file_named(name) is None else f"{_digest(name)}:{name.rpartition(':')[2]}"


def by_content(values: Any) -> Any:
    """A configuration's values with each file by its `identity`."""
    return _renamed(values, {name: identity(name) for _, name in _files(values)})


def _again(store: RunStore, key: str, name: str, code: Collection[str], kept: Any) -> str:
    """The name under which the person named the file again."""
    what, attribute = f"{store.directory}: the run names a file of Python code", name.rpartition(":")[2]
    shown = printable(shorten(name, 300))
    own = [one for one in code if file_named(one) is not None and one.rpartition(":")[2] == attribute]
    if not own:
        raise RunError(f"{what}; if you trust it, let it run by --{key} {shown}")
    for one in own:
        if _digest(one) == kept:
            return one
    raise RunError(f"{what}, {shown}, but {own[0]} is not what it was made with: their contents differ")


def _files(values: Any) -> Iterator[tuple[str, str]]:
    """(setting, FILE.py:NAME) of each file that the values name."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _files(value)
        elif key in _KEYS and isinstance(value, str) and file_named(value) is not None:
            yield key, value


def _renamed(values: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {
        key: names.get(value, value) if key in _KEYS and isinstance(value, str) else _renamed(value, names)
        for key, value in values.items()
    }


def _digests(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _digest(name) for _, name in _files(values)}


def _digest(name: str) -> str:
    path = file_named(name)
    assert path is not None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{shorten(name)}: {path} can't be read: {error.strerror}") from None
