"""Units whose inputs are found by real compilers."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reapi.clients.compile.dependencies import find_dependencies
from reapi.clients.compile.directory_states import DirectoryStates
from reapi.clients.compile.file_states import FileStates
from reapi.clients.compile.looked_up import pack_names, unpack_names
from reapi.clients.compile.lookups import Lookups
from reapi.clients.compile.model import CANONICAL_ROOT, Compilation, Family, Invocation, View, Word
from reapi.clients.compile.search_path import SearchPaths
from reapi.core.digest import Digest


@dataclass(frozen=True)
class Named:
    """A compiler or toolchain, as far as it is asked here."""

    path: str
    digest: str = "a toolchain"


@dataclass(frozen=True)
class Call:
    compiler: Named
    toolchain: Named
    compilation: Compilation
    invocation: Invocation
    directory: str


@dataclass(frozen=True)
class Unit:
    """What was read and looked up for a source."""

    files: FileStates
    records: list[tuple[str, Digest]]
    lookups: Lookups

    def holds(self) -> bool:
        return self.files.hold(self.records) and self.lookups.still_hold()

    def names(self) -> list[str]:
        return [os.path.basename(path) for path, _ in self.records]

    def fingerprint(self, root: Path) -> str:
        return self.lookups.fingerprint(View(str(root), CANONICAL_ROOT))


class Project:
    """A directory with sources, which are compiled there."""

    def __init__(self, root: Path, family: Family, *, tells_names: bool = False) -> None:
        self.root = root
        self._tells_names = tells_names
        self.family = family
        self.files = FileStates()
        self.directories = DirectoryStates()
        self._now_ns = 0

    @property
    def compiler(self) -> str:
        path = shutil.which(self.family)
        assert path is not None
        return path

    def write(self, name: str, text: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.changed(name)

    def changed(self, name: str) -> None:
        """Gives what holds the name a stamp that it did not have before: no test waits for one."""
        self._now_ns += 1_000_000_000
        for directory in (self.root / name).parents:
            if directory.is_relative_to(self.root):
                os.utime(directory, ns=(self._now_ns, self._now_ns))

    def call(self, *words: str, environment: dict[str, str] | None = None) -> Call:
        compilation = Compilation(self.family, tuple(map(Word, words)), "main.c", "c", "main.o")
        variables = {**os.environ, **(environment or {})}
        invocation = Invocation((self.compiler,), str(self.root), variables)
        compiler = Named(self.compiler)
        return Call(compiler, compiler, compilation, invocation, str(self.root))

    async def unit(self, *words: str, environment: dict[str, str] | None = None) -> Unit:
        call = self.call(*words, environment=environment)
        search = await SearchPaths().find(call)
        found = await find_dependencies(
            [self.compiler, *words, "-M", "main.c"], str(self.root), call.invocation.environment
        )
        assert found.failure is None, found.failure.stderr.decode()
        paths = [os.path.join(self.root, path) for path in found.paths]
        records = [(path, self.files.digest(path)) for path in paths]
        known = [(path, digest) for path, digest in records if digest is not None]
        assert len(known) == len(records)
        lookups = Lookups(search, str(self.root), known, self.files, self.directories)
        if self._tells_names:
            view = View(str(self.root), CANONICAL_ROOT)
            names = unpack_names(pack_names(lookups.names(), view), view, known)
            assert names is not None
            lookups = Lookups(search, str(self.root), known, self.files, self.directories, names)
        return Unit(self.files, known, lookups)


MakeProject = Callable[[str], Project]
