"""A program of this machine as an action: it and all that it is seen to need, at their own paths.

For programs that nobody describes to us, such as tests that a build system runs by a wrapper (J6).
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from glob import iglob
from pathlib import Path

from reapi.clients.action import LocalAction, encode_action
from reapi.clients.file_digests import FileDigests
from reapi.clients.merkle import LocalTree
from reapi.clients.model import CommandSpec
from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound
from reapi.core.execution_properties import INPUT_ROOT_OFFER

from .elf import NotAProgram, loaded_files
from .root_tree import RootTrees

_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
LIBRARY_PATH = "LD_LIBRARY_PATH"
_NO_INPUTS = ("/dev/", "/proc/", "/sys/")
_MAGIC = re.compile(r"[*?[]")
_MOST_INTERPRETERS = 4
_LONGEST_FIRST_LINE = 4096


def build_program_action(
    root: Path, spec: CommandSpec, digests: FileDigests, is_stopped: Callable[[], bool]
) -> LocalAction:
    """The action that runs the program of `spec` in a root with the files that it needs here.

    These are: the program, its shared libraries, and for a script its interpreter; regular files
    that arguments name, alone or behind a `=`, and if these are programs what they need; and the
    inputs, which may be directories and patterns (`*`, `?`, `[...]`, `**`) that match nothing. All
    are where they are here, and so is the working directory; paths are relative to it. `root` is
    `/`.

    Raises NotFound for a program or an input that is absent, InvalidArgument for a program that
    cannot run here. Blocks, as build_action does.
    """
    directory = os.path.join(root, spec.working_directory)
    needed = _Needed(directory, spec.environment.get(LIBRARY_PATH, ""))
    program = needed.add_command(spec.arguments, spec.outputs)
    for pattern in spec.inputs:
        needed.add_input(pattern)

    def digest_of(path: str) -> Digest:
        if is_stopped():
            raise FailedPrecondition("the upload was given up")
        return digests.digest(path, os.stat(path))

    tree = RootTrees(digest_of, digests.function).build(
        needed.files,
        toolchain=None,
        working_directory=directory,
        outputs=spec.outputs,
        directories=needed.directories,
    )
    own = replace(
        spec,
        arguments=(program, *spec.arguments[1:]),
        environment={"PATH": _SEARCH_PATH, **spec.environment},
        platform=(*spec.platform, INPUT_ROOT_OFFER),
    )
    outputs = sorted(tree.outputs, key=str.encode)
    digest, blobs = encode_action(own, outputs, tree.working_directory, tree.root_digest)
    local = LocalTree(tree.root_digest, {**tree.blobs, **blobs}, dict(tree.files))
    return LocalAction(digest, local, frozenset(outputs), tree.working_directory)


@dataclass
class _Needed:
    """Absolute paths of what a program needs, each once, in the order in which it is found."""

    directory: str
    library_path: str
    files: dict[str, None] = field(default_factory=dict)
    directories: dict[str, None] = field(default_factory=dict)

    def add_command(self, arguments: Sequence[str], outputs: Sequence[str]) -> str:
        """What its words name, but for outputs; returns the first as the action has it."""
        if not arguments:
            raise InvalidArgument("there is no command to run")
        name, *rest = arguments
        program = name if "/" in name else shutil.which(name)
        if program is None or not os.path.isfile(self._absolute(program)):
            raise NotFound(f"there is no program {name}")
        try:
            self._add_program(self._absolute(program))
        except NotAProgram as error:
            raise InvalidArgument(str(error)) from error
        made = {os.path.normpath(self._absolute(path)) for path in outputs}
        for argument in rest:
            for word in (argument, argument.partition("=")[2]):
                path = self._absolute(word)
                is_input = os.path.normpath(path) not in made and not path.startswith(_NO_INPUTS)
                if is_input and os.path.isfile(path):
                    self._add_file(path)
        return program

    def add_input(self, pattern: str) -> None:
        """A file, a directory with all that it has, or those that match."""
        given = self._absolute(pattern)
        paths = [given] if os.path.lexists(given) else sorted(iglob(given, recursive=True))
        if not paths and not _MAGIC.search(pattern):
            raise NotFound(f"input {pattern} does not exist in {self.directory}")
        for path in paths:
            for found in _below(path):
                if os.path.isdir(found):
                    self.directories[found] = None
                else:
                    self._add_file(found)

    def _absolute(self, path: str) -> str:
        return os.path.join(self.directory, path)

    def _add_file(self, path: str) -> None:
        self.files[path] = None
        if os.access(path, os.X_OK):
            try:
                self._add_program(path)
            except NotAProgram:
                return  # a file that only looks like one, which nobody said is to be run

    def _add_program(self, path: str, interpreters: int = 0) -> None:
        """Raises NotAProgram for what cannot run here."""
        self.files[path] = None
        interpreter = _interpreter(path)
        if not interpreter:
            for file in loaded_files(path, {LIBRARY_PATH: self.library_path}):
                self.files[file] = None
            return
        if interpreters == _MOST_INTERPRETERS:
            raise NotAProgram(f"{path} is a script of too many interpreters")
        for word in interpreter:
            found = shutil.which(word)
            if found is not None:
                self._add_program(found, interpreters + 1)


def _interpreter(path: str) -> list[str]:
    """The program in the first line of a script, and the one that /usr/bin/env is to find."""
    with open(path, "rb") as file:
        line = file.readline(_LONGEST_FIRST_LINE)
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        return [word for word in words if "=" not in word and not word.startswith("-")]
    return words[:1]


def _below(path: str) -> Iterator[str]:
    """A path, and if it is a directory all in it; links to directories are not entered."""
    yield path
    for directory, folders, files in os.walk(path):
        yield from (os.path.join(directory, name) for name in (*folders, *files))
