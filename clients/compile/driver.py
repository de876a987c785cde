"""Asks a compiler about itself: gcc and clang have options for that."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from .model import Family

_ANSWER_SECONDS = 30.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "HOME")
"""Others, such as CPATH, are of one call: they would be in the answer to all."""

_SELECTING = re.compile(
    r"-B|--config|--sysroot|-isysroot|--?specs|--gcc-toolchain|--gcc-install-dir|-gcc-toolchain|-stdlib="
    r"|-resource-dir|-f?no-integrated-as|--target|-target|-m(16|32|64|x32|abi=|arch=|cpu=|float-abi=|thumb)|-fuse-ld="
)
_SELECTING_NEXT = (
    "--config",
    "-B",
    "--sysroot",
    "-isysroot",
    "-specs",
    "--specs",
    "-target",
    "-resource-dir",
)
"""Of these the value may be the next argument."""


class ToolchainError(Exception):
    """A compiler cannot be packaged; the text says why."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A compiler as it is asked about itself: with the arguments that choose what it consists of.

    `environment` is the caller's; `working_directory` what relative paths in `selecting` are from.
    """

    path: str
    family: Family
    environment: Mapping[str, str]
    working_directory: str
    selecting: tuple[str, ...] = ()

    def ask(self, *arguments: str) -> str:
        """What it prints, on stderr, too; raises ToolchainError when it fails."""
        try:
            done = subprocess.run(
                [self.path, *self.selecting, *arguments],
                env={
                    name: self.environment[name]
                    for name in _KEPT_VARIABLES
                    if name in self.environment
                }
                | {"LC_ALL": "C"},
                cwd=self.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_ANSWER_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolchainError(f"{self.path} {' '.join(arguments)}: {error}") from error
        text = os.fsdecode(done.stdout)
        if done.returncode:
            raise ToolchainError(f"{self.path} {' '.join(arguments)} says: {text.strip()[:300]}")
        return text

    def find(self, answer: str) -> str | None:
        """The file that it means by an answer: a path, or a name that is searched on the PATH."""
        if "/" in answer:
            path = os.path.join(self.working_directory, answer)
            return path if os.path.isfile(path) else None
        for directory in self.search_path:
            path = os.path.join(directory, answer)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    @property
    def search_path(self) -> list[str]:
        """The directories of PATH, absolute."""
        given = self.environment.get("PATH", "/usr/bin:/bin").split(":")
        return [os.path.join(self.working_directory, directory) for directory in given]

    def selected_directories(self) -> list[str]:
        """Those of -B, where it looks for programs first."""
        named = (
            word[2:] or after
            for word, after in pairwise((*self.selecting, ""))
            if word.startswith("-B")
        )
        return [os.path.join(self.working_directory, name) for name in named]


def selecting_arguments(words: Iterable[str]) -> tuple[str, ...]:
    """Of the arguments of a compile, those that choose which programs and headers are used."""
    selecting: list[str] = []
    takes_next = False
    for word in words:
        if takes_next or _SELECTING.match(word):
            selecting.append(word)
            takes_next = not takes_next and word in _SELECTING_NEXT
    return tuple(selecting)
