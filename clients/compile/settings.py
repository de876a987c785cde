"""The settings of the compile clients: [compile] of reapi.toml, and REAPI_CC_*, of the same names.

What a call's environment says wins over the project's file, and that over the user's file.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from reapi.clients.settings import (
    COMPILE_TABLE,
    Settings,
    load_settings,
    read_table,
    settings_files,
    user_settings_file,
)
from reapi.core.errors import InvalidArgument

from .local_slots import usable_processors
from .places import default_cache_directory

Mode = Literal["headers", "preprocess"]
Strategy = Literal["remote", "local", "race"]
Fallback = Literal["never", "on_infra_error", "always"]

VARIABLE_PREFIX = "REAPI_CC_"
_OTHER_VARIABLES = frozenset({"REAPI_CC_LOCAL", "REAPI_CC_SELF", "REAPI_CC_DEPTH"})
"""What a stub looks at."""
_DAEMON_KEYS = frozenset({"local_slots", "cache_dir", "cache_max_size_bytes"})
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """How calls of compilers are answered.

    `local_slots`, `cache_dir` and `cache_max_size_bytes` are the daemon's: it takes them from the
    user's file and its environment when it starts, and a project's file may not have them.
    """

    root: str | None = None
    """The checkout: paths below it are the same for all who share results; unset: what is found."""
    portable: bool = False
    """Objects with debug information are shared between checkouts, their paths relative to root."""
    mode: Mode = "headers"
    """`preprocess`: headers never leave this machine; their preprocessed text does."""
    strategy: Strategy = "remote"
    """Where a miss is compiled; `race`: on both sides, and the first to end wins."""
    fallback: Fallback = "on_infra_error"
    """When a call that should be remote is compiled here instead of failing."""
    local_slots: int = field(default_factory=usable_processors)
    """The most compilers, links and the like that the daemon lets run here at once."""
    cache_dir: str = field(default_factory=lambda: default_cache_directory(os.environ))
    """Results, statistics and logs of this user."""
    cache_max_size_bytes: int = 5 << 30
    read_only: bool = False
    """Takes results from the service and stores none there."""
    link: bool = False
    """Links and `ar` are actions, too."""
    price_per_slot_hour: float = 0.0
    """What an executor's slot costs, in the money that `reapi-cli compile` tells."""


def load_daemon_settings(environment: Mapping[str, str]) -> CompileSettings:
    """The settings of a daemon that starts; raises InvalidArgument for those of its own."""
    values = _of_file(user_settings_file(environment), is_project=False)
    values |= _of_variables(environment)
    return CompileSettings(**{key: values[key] for key in _DAEMON_KEYS & values.keys()})


@dataclass(frozen=True, slots=True)
class CallSettings:
    """All that a call is subject to: how it is answered, and by which server."""

    compile: CompileSettings
    connection: Settings


@dataclass(frozen=True, slots=True)
class _Remembered:
    stamps: tuple[tuple[str, tuple[int, ...] | None], ...]
    settings: CallSettings


class SettingsOfCalls:
    """The settings of calls, remembered until a file that they come from changes or appears."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], _Remembered] = (
            OrderedDict()
        )

    def get(self, working_directory: str, environment: Mapping[str, str]) -> CallSettings:
        """Raises InvalidArgument, which names the file or variable, the key and the reason."""
        relevant = tuple(
            [
                item
                for item in environment.items()
                if item[0].startswith("REAPI_") or item[0] == "XDG_CONFIG_HOME"
            ]
        )
        key = (working_directory, relevant)
        known = self._known.get(key)
        if known is not None and all(_stamp(path) == stamp for path, stamp in known.stamps):
            return known.settings
        directory = Path(working_directory)
        files = settings_files(environment, directory)
        stamps = tuple((str(path), _stamp(str(path))) for path in files)
        settings = _load(environment, directory, files)
        self._known[key] = _Remembered(stamps, settings)
        self._known.move_to_end(key)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return settings


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _load(environment: Mapping[str, str], directory: Path, files: list[Path]) -> CallSettings:
    values = _of_file(files[-1], is_project=False)
    values |= _of_file(files[-2], is_project=True)
    values |= _of_variables(environment)
    connection = load_settings({}, environment=environment, working_directory=directory)
    return CallSettings(CompileSettings(**values), connection)


def _of_file(path: Path, *, is_project: bool) -> dict[str, Any]:
    if not path.is_file():
        return {}
    table = read_table(path).get(COMPILE_TABLE, {})
    if not isinstance(table, dict):
        raise InvalidArgument(f"{path}: {COMPILE_TABLE} must be a table")
    values = {}
    for key, value in table.items():
        name = f"{path}: [{COMPILE_TABLE}] {key}"
        if is_project and key in _DAEMON_KEYS:
            raise InvalidArgument(f"{name} is the user's to set, in ~/.config/reapi/config.toml")
        values[key] = _check(name, key, value, path.parent)
    return values


def _of_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name, text in environment.items():
        if name.startswith(VARIABLE_PREFIX) and name not in _OTHER_VARIABLES:
            key = name.removeprefix(VARIABLE_PREFIX).lower()
            values[key] = _check(name, key, _from_text(name, key, text), None)
    return values


def _from_text(name: str, key: str, text: str) -> Any:
    kind = _CHECKS.get(key)
    if kind is _flag:
        spelled = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        return spelled.get(text.lower(), text)
    if kind is _positive or kind is _price:
        try:
            return int(text) if kind is _positive else float(text)
        except ValueError:
            raise InvalidArgument(f"{name}: {text!r} is not a number") from None
    return text


def _check(name: str, key: str, value: Any, directory: Path | None) -> Any:
    check = _CHECKS.get(key)
    if check is None:
        raise InvalidArgument(f"{name}: unknown key; the keys are {', '.join(_CHECKS)}")
    try:
        return check(value, directory)
    except ValueError as error:
        raise InvalidArgument(f"{name} {error}") from None


def _flag(value: Any, _: Path | None) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _positive(value: Any, _: Path | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("must be a number above 0")
    return value


def _price(value: Any, _: Path | None) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError("must be a number from 0")
    return float(value)


def _path(value: Any, directory: Path | None) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    path = os.path.expanduser(value)
    if directory is not None:
        path = os.path.join(directory, path)
    if not os.path.isabs(path):
        raise ValueError(f"must be an absolute path, not {value!r}")
    return os.path.normpath(path)


def _one_of(words: tuple[str, ...]) -> Callable[[Any, Path | None], str]:
    def check(value: Any, _: Path | None) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {value!r}")
        return str(value)

    return check


_CHECKS: dict[str, Callable[[Any, Path | None], Any]] = {
    "root": _path,
    "portable": _flag,
    "mode": _one_of(get_args(Mode)),
    "strategy": _one_of(get_args(Strategy)),
    "fallback": _one_of(get_args(Fallback)),
    "local_slots": _positive,
    "cache_dir": _path,
    "cache_max_size_bytes": _positive,
    "read_only": _flag,
    "link": _flag,
    "price_per_slot_hour": _price,
}
assert set(_CHECKS) == {each.name for each in fields(CompileSettings)}
