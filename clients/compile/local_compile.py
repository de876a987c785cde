"""Compiles, links and archives on this machine, in a slot, and keeps what came of it like an
executor's results."""

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

from reapi.core.digest import digest_of
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .bounded_process import run_process
from .calls import Call
from .command_lines import coloured, dependency_arguments
from .dependencies import find_dependencies, prerequisites
from .depfile import rewrite
from .file_states import FileStates
from .hits import Hits
from .inputs import is_thin, precompiled, reason_to_decline, records_of, use_file_names
from .languages import PREPROCESSED
from .library_path import LINKED, linked_files
from .local_cache import LocalCache
from .local_slots import LocalSlots
from .made import Made
from .manifest import Entry, Record
from .model import Finished, Product
from .packing import pack
from .results import as_shared
from .search_path import SearchPath

LARGEST_TEXT_BYTES = 64 << 20
_LARGEST_OUTPUT_BYTES = 128 << 20
_YOUNGEST_NS = 20_000_000
"""A file that was changed later than this before a compile began may have changed in it."""


class LocalCompiles:
    """Runs compilers of this machine. Safe for concurrent use by tasks."""

    def __init__(self, files: FileStates, hits: Hits, cache: LocalCache, slots: LocalSlots) -> None:
        self._files = files
        self._hits = hits
        self._cache = cache
        self._slots = slots

    async def run(self, call: Call, search: SearchPath, key: str) -> Made | Finished:
        """Compiles as the caller would have; its outputs are at their places then.

        Made if the result holds for all who have the same inputs; Finished if it failed, or is
        nothing to keep under `key`. Cancelling ends the compiler, and takes away what it has begun
        to write.
        """
        async with self._slots.slot():
            with tempfile.TemporaryDirectory(prefix="reapi-cc-") as scratch:
                began_ns = time.time_ns()
                headers = await _Headers.of(call, scratch)
                before = self._records_before(call, search)
                may_keep = self._hits.key(call) == key and not self._adds_to_thin(call)
                try:
                    done = await _run(call, headers.arguments)
                    if headers.are_refused(done):
                        return await _run(call, ())
                except BaseException:
                    _remove_halves(call, began_ns)
                    raise
                if done.exit_code or not may_keep:
                    return done
                return self._made(call, search, headers.read(), began_ns, before, done) or done

    def _records_before(self, call: Call, search: SearchPath) -> list[Record]:
        """What a linker or archiver will read, as far as its arguments tell.

        Builds make these files just before, so their timestamps are too young to say that they did
        not change meanwhile: their content is looked at before and after.
        """
        if call.compilation.product is Product.OBJECT:
            return []
        named = [call.path(name) for name in call.compilation.input_files]
        named += (
            os.path.join(directory, name) for directory in search.angle for name in search.names
        )
        found = [(path, self._files.digest(path)) for path in named]
        return [(path, digest) for path, digest in found if digest is not None]

    def _adds_to_thin(self, call: Call) -> bool:
        """Whether its output is an archive already, of members that are elsewhere."""
        is_archive = call.compilation.product is Product.ARCHIVE
        return is_archive and is_thin(call.path(call.compilation.output))

    def _made(
        self,
        call: Call,
        search: SearchPath,
        names: tuple[str, ...] | None,
        began_ns: int,
        before: list[Record],
        done: Finished,
    ) -> Made | None:
        """What is kept: nothing if inputs changed meanwhile, or make something else each time."""
        if names is None:
            return None
        named = (call.compilation.source, *names, *call.compilation.input_files)
        paths = sorted({call.path(name) for name in named})
        known_before = dict(before)
        young = [path for path in paths if path not in known_before]
        declined = reason_to_decline(self._files, call.compilation, paths)
        if declined is not None or not _are_settled(young, began_ns):
            return None
        records = records_of(self._files, paths)
        if records is None or any(known_before.get(path, now) != now for path, now in records):
            return None
        result = manifest_pb2.Result(stdout=done.stdout, stderr=done.stderr)
        is_exact = call.depends_on_names and use_file_names(self._files, call.compilation, paths)
        for index, name in enumerate(call.outputs):
            data = add_output(result, index, call.path(name), self._cache)
            is_exact |= os.fsencode(call.view.root) in data
        if not any(item.index == 0 for item in result.outputs):
            return None
        root = call.view.root if call.is_shared and is_exact else ""
        if not self._add_texts(call, result, is_exact=bool(root)):
            return None
        lookups = self._hits.lookups(call, records, search)
        if precompiled(lookups.unread()):
            return None
        entry = Entry(records, lookups.fingerprint(call.view), result, root, lookups)
        return Made(entry, {}, is_delivered=True)

    def _add_texts(self, call: Call, result: manifest_pb2.Result, *, is_exact: bool) -> bool:
        """Adds the depfile; the paths in all texts become those of the view. False: they cannot."""
        depfile = call.compilation.depfile
        is_translated = call.is_shared and not is_exact
        if not is_exact:
            result.stderr = as_shared(call, result.stderr)
        if depfile is None:
            return True
        with open(call.path(depfile.path), "rb") as file:
            rule: bytes | None = file.read()
        if is_translated and rule is not None:
            rule = rewrite(rule, call.compilation.family, call.view.there)
        if rule is None:
            return False
        result.depfile = pack(rule)
        return True


def add_output(result: manifest_pb2.Result, index: int, path: str, cache: LocalCache) -> bytes:
    """Keeps an output, if there is one that is not too large; what it contains."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_OUTPUT_BYTES + 1)
    except FileNotFoundError:
        return b""
    if len(data) > _LARGEST_OUTPUT_BYTES:
        return b""
    digest = digest_of(data, cache.function)
    cache.put_blob(digest, data)
    result.outputs.add(index=index, hash=bytes.fromhex(digest.hash), size_bytes=digest.size_bytes)
    return data


@dataclass(frozen=True, slots=True)
class _Headers:
    """How it becomes known what a call reads: by a depfile of its own, or by asking before."""

    arguments: tuple[str, ...] = ()
    path: str | None = None
    names: tuple[str, ...] | None = ()
    is_linkers: bool = False

    @classmethod
    async def of(cls, call: Call, scratch: str) -> "_Headers":
        if call.compilation.product is Product.ARCHIVE:
            return cls()
        if call.compilation.product is Product.PROGRAM:
            path = os.path.join(scratch, "linked.d")
            return cls(("-Xlinker", f"{LINKED}{path}"), path, is_linkers=True)
        depfile = call.compilation.depfile
        if call.compilation.language in PREPROCESSED.values():
            return cls()
        if depfile is None:
            path = os.path.join(scratch, "headers.d")
            return cls(arguments=("-MD", "-MF", path), path=path)
        if not depfile.leaves_out_system_headers:
            return cls(path=call.path(depfile.path))
        found = await find_dependencies(
            [call.compiler.path, *dependency_arguments(call.compilation)],
            call.invocation.working_directory,
            call.invocation.environment,
        )
        return cls(names=None if found.failure else found.paths)

    def read(self) -> tuple[str, ...] | None:
        """The names of all that was read; None if that is not known."""
        if self.path is None:
            return self.names
        try:
            with open(self.path, "rb") as file:
                rule = file.read()
        except FileNotFoundError:
            return None
        return tuple(linked_files(rule)) if self.is_linkers else prerequisites(rule)

    def are_refused(self, done: Finished) -> bool:
        """Whether a linker failed for an option that its caller did not give: it is an old one."""
        return self.is_linkers and bool(done.exit_code) and LINKED.encode() in done.stderr


async def _run(call: Call, further: tuple[str, ...]) -> Finished:
    return await run_process(
        [call.compiler.path, *_arguments(call), *further],
        call.invocation.working_directory,
        call.invocation.environment,
        largest_output_bytes=LARGEST_TEXT_BYTES,
        umask=call.invocation.umask,
    )


def _are_settled(paths: list[str], began_ns: int) -> bool:
    """Whether no file can have changed since a compile began."""
    try:
        stats = [os.stat(path) for path in paths]
    except OSError:
        return False
    youngest = max((max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats), default=0)
    return youngest < began_ns - _YOUNGEST_NS


def _remove_halves(call: Call, began_ns: int) -> None:
    """As a compiler does that is interrupted: half an object is newer than its source."""
    for name in call.outputs:
        path = call.path(name)
        with suppress(OSError):
            if os.stat(path).st_mtime_ns >= began_ns:
                os.unlink(path)


def _arguments(call: Call) -> tuple[str, ...]:
    """Those of the caller, and what makes the result fit for others."""
    if call.compilation.product is not Product.OBJECT:
        return call.invocation.arguments[1:]
    arguments = [*call.invocation.arguments[1:], *coloured(call.compilation)]
    if call.settings.compile.portable and call.is_shared:
        arguments.append(f"-ffile-prefix-map={call.view.root}=.")
    return tuple(arguments)
