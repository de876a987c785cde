"""A call of a compiler, understood: what it compiles, for whom its result holds, and its key."""

import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from reapi.core.digest import Digest

from .compilers import Compiler
from .model import Compilation, Invocation, Product, View
from .settings import CallSettings
from .toolchain import Toolchain
from .views import absolute_paths, maps_names

_FORMAT = "reapi-cc 1"
"""To be changed with anything that a key or a manifest means."""


@dataclass(frozen=True)
class Call:
    """An invocation that makes one object of one source.

    `directory` is the working directory by the name that the compiler takes for it: $PWD where that
    is the same one; `variables` are those of its environment that a compiler reads.
    """

    invocation: Invocation
    compiler: Compiler
    toolchain: Toolchain
    compilation: Compilation
    settings: CallSettings
    directory: str
    view: View
    variables: tuple[tuple[str, str], ...]

    @property
    def source(self) -> str:
        """The absolute path of the source."""
        return self.path(self.compilation.source)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it may write but for its depfile, the object first; as its user named it."""
        return (self.compilation.output, *self.compilation.extra_outputs)

    def path(self, name: str) -> str:
        """The absolute path of a file as the call names it."""
        # Headers are inputs of many calls.
        return sys.intern(os.path.join(self.directory, name))

    @property
    def is_shared(self) -> bool:
        """Whether other checkouts have the same key."""
        return self.view.root != self.view.seen_at

    @property
    def depends_on_names(self) -> bool:
        """Whether a path can be in the result if its inputs use the name of a file (__FILE__)."""
        compilation, root = self.compilation, self.view.root
        if compilation.product is not Product.OBJECT:
            return False
        is_mapped = self.settings.compile.portable or maps_names(compilation, root)
        return not is_mapped and absolute_paths(compilation, root)

    @property
    def mode(self) -> int:
        """The rights of what it makes, before its umask takes some away."""
        return 0o777 if self.compilation.product is Product.PROGRAM else 0o666

    @property
    def wants_colour(self) -> bool:
        """Whether its diagnostics are to be coloured."""
        asked = self.compilation.asks_for_colour
        return self.invocation.wants_colour if asked is None else asked

    def key(self, source: Digest, output: Digest | None = None) -> str:
        """The key of its manifest: a hash of all that is known before a compiler runs.

        `output` is what is there before, of a call that adds to that.
        """
        hasher = self._hasher.copy()
        hasher.update(f"{source.function.name}:{source}:{output or ''}".encode())
        return hasher.hexdigest()

    @cached_property
    def _hasher(self) -> "hashlib._Hash":
        there, compilation = self.view.there, self.compilation
        parts = [
            _FORMAT,
            self.toolchain.digest,
            compilation.language,
            there(self.directory),
            there(compilation.source),
            there(compilation.output) if compilation.names_output else "",
            "portable" if self.settings.compile.portable else "",
        ]
        parts += _section(
            f"{word.before}{there(word.path or '')}{word.after}" for word in compilation.words
        )
        parts += _section(f"{name}={value}" for name, value in self.variables)
        if compilation.depfile is not None:
            parts += _section(there(option) for option in compilation.depfile.options)
            parts.append("-MMD" if compilation.depfile.leaves_out_system_headers else "-MD")
        return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape"))


def _section(items: Iterable[str]) -> list[str]:
    """Items with their number before them, so that two lists in a row are not one."""
    listed = list(items)
    return [str(len(listed)), *listed]


def logical_directory(invocation: Invocation) -> str:
    """The working directory as compilers record it: by $PWD, if that is the same directory."""
    name = invocation.environment.get("PWD", "")
    actual = invocation.working_directory
    if name == actual or not name.startswith("/"):
        return actual
    try:
        return name if os.path.samefile(name, actual) else actual
    except OSError:
        return actual
