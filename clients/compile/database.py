"""compile_commands.json: the calls of a build, as CMake, Meson, Bear and others write them down."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reapi.core.errors import InvalidArgument, NotFound

from .model import Invocation

_LARGEST_BYTES = 1 << 30
_NAME = "compile_commands.json"


def read_database(
    path: Path, *, environment: Mapping[str, str], umask: int, wants_colour: bool
) -> list[Invocation]:
    """The calls of a database, or of that in the directory `path`; each once, in its order.

    The clang JSON compilation database format: `directory`, and `arguments` or a shell's `command`.
    Raises NotFound, and InvalidArgument that names the entry that is wrong.
    """
    file = path / _NAME if path.is_dir() else path
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise InvalidArgument(f"{file} is larger than {_LARGEST_BYTES >> 20} MiB")
        entries = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no {file}: cmake -DCMAKE_EXPORT_COMPILE_COMMANDS=ON writes one, so does "
            "meson setup; for make there is bear"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"cannot read {file}: {error}") from error
    if not isinstance(entries, list):
        raise InvalidArgument(f"{file} is not a list of compile commands")
    found: dict[tuple[object, ...], Invocation] = {}
    for index, entry in enumerate(entries):
        place = f"{file}: entry {index}"
        directory, arguments = _directory(entry, file, place), _arguments(entry, place)
        found[(directory, arguments)] = Invocation(
            arguments, directory, environment, umask, wants_colour
        )
    return list(found.values())


def _directory(entry: Any, file: Path, place: str) -> str:
    directory = entry.get("directory") if isinstance(entry, dict) else None
    if not isinstance(directory, str):
        raise InvalidArgument(f"{place} has no directory")
    directory = os.path.join(os.path.abspath(file.parent), directory)
    if not os.path.isdir(directory):
        raise InvalidArgument(f"{place}: {directory} is not a directory")
    return os.path.normpath(directory)


def _arguments(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    arguments = entry.get("arguments")
    if arguments is None and isinstance(entry.get("command"), str):
        try:
            arguments = shlex.split(entry["command"])
        except ValueError as error:
            raise InvalidArgument(f"{place}: its command is no shell command: {error}") from error
    if not isinstance(arguments, list) or not arguments:
        raise InvalidArgument(f"{place} has neither arguments nor a command")
    if not all(isinstance(argument, str) and "\0" not in argument for argument in arguments):
        raise InvalidArgument(f"{place}: its arguments must be strings")
    return tuple(arguments)
