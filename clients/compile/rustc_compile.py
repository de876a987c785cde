"""Makes a crate on this machine, in a slot, and keeps what came of it."""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from reapi.protos.reapi.compile.v1 import manifest_pb2

from .bounded_process import run_process
from .calls import Call
from .crate_checks import (
    UnkeptCrate,
    check_bundled,
    check_open_directories,
    check_sources,
)
from .crate_lookups import CrateLookups
from .crates import Closure, Crates, UnknownCrate
from .dep_info import variables_in, variables_of
from .dependencies import prerequisites
from .elf import NotAProgram, loaded_files
from .file_states import FileStates
from .inputs import records_of
from .local_cache import LocalCache
from .local_compile import LARGEST_TEXT_BYTES, add_output
from .local_slots import LocalSlots
from .made import Made
from .manifest import Entry, Record
from .model import Finished, Local
from .outcome import Outcome, OutcomeKind
from .packing import pack
from .results import as_shared
from .rustc_arguments import RustCompilation
from .rustc_environment import variables_of_macros, without_jobserver
from .views import is_below

_CLOCK_OF_FILES = 5
"""CLOCK_REALTIME_COARSE, by which the kernel stamps files and for which Python has no name."""

_COLOURED = "--color=always"
"""What a caller does not want is taken out again."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known to be read before rustc runs."""

    records: Sequence[Record]
    closure: Closure


class CrateCompiles:
    """Runs the rustc of this machine. Safe for concurrent use by tasks."""

    def __init__(
        self, files: FileStates, crates: Crates, cache: LocalCache, slots: LocalSlots
    ) -> None:
        self._files = files
        self._crates = crates
        self._cache = cache
        self._slots = slots

    async def run(self, call: Call, compilation: RustCompilation) -> Made | Finished | Local:
        """Makes it as the caller would have; its outputs are at their places then.

        Made if the result holds for all who have the same inputs; Finished if it failed, or is
        nothing to keep; Local, with nothing done, if that is known before. Cancelling ends rustc.
        """
        async with self._slots.slot():
            try:
                known = await self._known(call, compilation)
            except (UnknownCrate, UnkeptCrate, NotAProgram) as error:
                return Local(str(error))
            except OSError as error:
                return Local(f"{error.filename} cannot be read: {error.strerror}")
            began_ns = time.clock_gettime_ns(_CLOCK_OF_FILES)
            done = await run_process(
                [call.compiler.path, *_arguments(call)],
                call.invocation.working_directory,
                without_jobserver(call.invocation.environment),
                largest_output_bytes=LARGEST_TEXT_BYTES,
                umask=call.invocation.umask,
            )
            if done.exit_code:
                return done
            try:
                return self._made(call, compilation, known, began_ns, done)
            except (UnkeptCrate, OSError, ValueError) as error:
                reason = f"its result is not kept: {error}"
                return replace(done, outcome=Outcome(OutcomeKind.MISS_LOCAL, reason=reason))

    async def _known(self, call: Call, compilation: RustCompilation) -> _Known:
        closure = self._crates.closure(
            map(call.path, compilation.crates),
            map(call.path, compilation.crate_directories),
            made=frozenset(map(call.path, call.outputs)),
        )
        check_open_directories(map(call.path, compilation.open_directories))
        files = [
            *closure.files,
            *map(call.path, compilation.input_files),
            *filter(os.path.isfile, map(call.path, compilation.library_candidates)),
            *await asyncio.to_thread(_libraries_of, call, closure.macros),
        ]
        manifest = call.invocation.environment.get("CARGO_MANIFEST_DIR")
        if closure.macros and manifest is not None:
            # Macros that generate paths to other crates look there for their names.
            files += filter(os.path.isfile, [os.path.join(manifest, "Cargo.toml")])
        return _Known(self._records(files), closure)

    def _records(self, files: Iterable[str]) -> list[Record]:
        records = records_of(self._files, sorted(set(files)))
        if records is None:
            raise UnkeptCrate("what it is made of is changing")
        return records

    def _made(
        self,
        call: Call,
        compilation: RustCompilation,
        known: _Known,
        began_ns: int,
        done: Finished,
    ) -> Made:
        assert compilation.depfile is not None
        with open(call.path(compilation.depfile.path), "rb") as file:
            dep_info = file.read()
        named = prerequisites(dep_info)
        if named is None:
            raise UnkeptCrate("its dep-info is no make rule")
        sources = sorted({call.source, *map(call.path, named)})
        check_sources(sources, began_ns)
        if compilation.output.endswith(".rlib"):
            is_named = bool(compilation.static_libraries)
            check_bundled(call.path(compilation.output), sources, is_named=is_named)
        records = self._records([*sources, *(path for path, _ in known.records)])
        if not set(known.records) <= set(records):
            raise UnkeptCrate("a crate that it is made of has changed meanwhile")
        environment = call.invocation.environment
        asked = {*variables_in(dep_info)}
        if known.closure.macros:
            asked.update(variables_of_macros(environment))
        result = manifest_pb2.Result(
            stdout=done.stdout,
            stderr=as_shared(call, done.stderr),
            depfile=pack(as_shared(call, dep_info)),
        )
        for index, name in enumerate(call.outputs):
            add_output(result, index, call.path(name), self._cache)
        if len(result.outputs) != len(call.outputs):
            raise UnkeptCrate("it has not made all its outputs")
        root = call.view.root if _is_of_one_checkout(call, sources) else ""
        lookups = CrateLookups(compilation, call.directory, [path for path, _ in records])
        entry = Entry(
            records,
            lookups.fingerprint(call.view),
            result,
            root,
            lookups,
            variables_of(asked, environment),
        )
        return Made(entry, {}, is_delivered=True)


def _arguments(call: Call) -> tuple[str, ...]:
    arguments = [*call.invocation.arguments[1:]]
    if call.compilation.asks_for_colour is None:
        arguments.append(_COLOURED)
    if call.settings.compile.portable and call.is_shared:
        arguments.append(f"--remap-path-prefix={call.view.root}=.")
    return tuple(arguments)


def _is_of_one_checkout(call: Call, sources: Iterable[str]) -> bool:
    """Whether a path of the checkout may be in the crate, although its call names none."""
    is_mapped = call.settings.compile.portable
    return call.is_shared and not is_mapped and any(is_below(s, call.view.root) for s in sources)


def _libraries_of(call: Call, macros: Iterable[str]) -> list[str]:
    """What the libraries of macros load, but for what rustc loads itself."""
    loaded: list[str] = []
    for path in macros:
        loaded += loaded_files(path, call.invocation.environment, like=call.compiler.path)
    return [path for path in loaded if path not in call.toolchain.files]
