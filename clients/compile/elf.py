"""The shared libraries that a program of this machine loads, as its own loader finds them."""

import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

_PT_LOAD = 1
_PT_DYNAMIC = 2
_PT_INTERP = 3
_DT_NEEDED = 1
_DT_STRTAB = 5
_DT_PATHS = (15, 29)
_LARGEST_DYNAMIC_BYTES = 1 << 20
_MOST_HEADERS = 256
_LONGEST_PATH_BYTES = 4096
_LOADER_SECONDS = 30.0
_LOADER_CACHE = "/etc/ld.so.cache"
_VARIANTS = "/glibc-hwcaps/"


class NotAProgram(Exception):
    """A file is not a program that loads its libraries in the way of this machine."""


def loaded_files(
    program: str, environment: Mapping[str, str], *, like: str | None = None
) -> list[str]:
    """The loader of `program` and the libraries that it loads; none for a static one.

    A library has no loader of its own: it is loaded `like` the program that is to load it.

    The loader's cache is among them if it finds others without. Programs that are run with
    `environment` are meant; the program itself is not run, but its loader is: it must be one that
    the user trusts. Raises NotAProgram for scripts and for programs of other machines.
    """
    loader = interpreter(like or program)
    if loader is None:
        return []
    variables = {
        name: value for name, value in environment.items() if name == "LD_LIBRARY_PATH" and value
    }
    found = _list(loader, program, variables)
    files = [loader, *found]
    files += [path for path in map(_base_variant, found) if path and os.path.exists(path)]
    if os.path.exists(_LOADER_CACHE):
        try:
            needs_cache = _list(loader, program, variables, "--inhibit-cache") != found
        except NotAProgram:
            needs_cache = True
        if needs_cache:
            files.append(_LOADER_CACHE)
    return files


def interpreter(program: str) -> str | None:
    """The loader that an ELF file names; None for one that needs none.

    Raises NotAProgram for what is no ELF file.
    """
    try:
        with open(program, "rb") as file:
            for segment in _Segments.of(file, program):
                if segment.kind == _PT_INTERP:
                    file.seek(segment.place)
                    name = file.read(min(segment.size_bytes, _LONGEST_PATH_BYTES))
                    return os.fsdecode(name.rstrip(b"\0"))
    except (OSError, struct.error) as error:
        raise NotAProgram(f"{program} cannot be read: {error}") from error
    return None


def needed_libraries(library: str) -> tuple[list[str], list[str]]:
    """The names of the libraries that a shared one needs, and the directories that it names.

    Raises NotAProgram for what is no ELF file.
    """
    try:
        with open(library, "rb") as file:
            segments = _Segments.of(file, library)
            entries = list(segments.dynamic_entries(file))
            texts = next((value for tag, value in entries if tag == _DT_STRTAB), 0)
            names = [segments.text(file, texts + at) for tag, at in entries if tag == _DT_NEEDED]
            paths = [segments.text(file, texts + at) for tag, at in entries if tag in _DT_PATHS]
    except (OSError, struct.error) as error:
        raise NotAProgram(f"{library} cannot be read: {error}") from error
    origin = os.path.dirname(os.path.realpath(library))
    directories = [
        directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        for path in paths
        for directory in path.split(":")
    ]
    return names, directories


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    place: int
    address: int
    size_bytes: int


class _Segments(list[_Segment]):
    """The segments of an ELF file."""

    is_wide: bool
    order: str

    @classmethod
    def of(cls, file: BinaryIO, name: str) -> "_Segments":
        """Raises NotAProgram, and struct.error for what is cut off."""
        header = file.read(64)
        if len(header) < 52 or header[:4] != b"\x7fELF":
            raise NotAProgram(f"{name} is not an ELF program")
        found = cls()
        found.is_wide, found.order = header[4] == 2, "<" if header[5] == 1 else ">"
        start_at, sizes_at, layout = (32, 54, "I4xQQ8xQ") if found.is_wide else (28, 42, "III4xI")
        (start,) = struct.unpack_from(
            found.order + ("Q" if found.is_wide else "I"), header, start_at
        )
        size, count = struct.unpack_from(found.order + "HH", header, sizes_at)
        file.seek(start)
        headers = file.read(size * min(count, _MOST_HEADERS))
        for at in range(0, len(headers) - size + 1, size or 1):
            found.append(_Segment(*struct.unpack_from(found.order + layout, headers, at)))
        return found

    def dynamic_entries(self, file: BinaryIO) -> Iterator[tuple[int, int]]:
        """Tags with their values."""
        for segment in self:
            if segment.kind == _PT_DYNAMIC:
                file.seek(segment.place)
                table = file.read(min(segment.size_bytes, _LARGEST_DYNAMIC_BYTES))
                entry = struct.Struct(self.order + ("QQ" if self.is_wide else "II"))
                yield from entry.iter_unpack(table[: len(table) // entry.size * entry.size])

    def text(self, file: BinaryIO, address: int) -> str:
        """The text that is at an address when the file is loaded; empty if there is none."""
        for segment in self:
            offset = address - segment.address
            if segment.kind == _PT_LOAD and 0 <= offset < segment.size_bytes:
                file.seek(segment.place + offset)
                return os.fsdecode(file.read(_LONGEST_PATH_BYTES).partition(b"\0")[0])
        return ""


def _list(loader: str, program: str, variables: Mapping[str, str], *options: str) -> list[str]:
    """The libraries that the loader would load."""
    try:
        done = subprocess.run(
            [loader, *options, "--list", program],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOADER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAProgram(f"{loader} cannot be run: {error}") from error
    lines = os.fsdecode(done.stdout).splitlines()
    if done.returncode or any(line.endswith("=> not found") for line in lines):
        raise NotAProgram(f"{program} cannot be loaded here")
    targets = (line.partition(" => ")[2].rpartition(" (")[0] for line in lines)
    return [target for target in targets if target.startswith("/")]


def _base_variant(library: str) -> str | None:
    """Where a processor of fewer abilities would find a library that is made for this one."""
    before, mark, after = library.partition(_VARIANTS)
    return f"{before}/{after.partition('/')[2]}" if mark else None
