"""The way of a crate to an executor, with all that the rustc of this machine says it reads."""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

from .bounded_process import run_process
from .calls import Call
from .compile_action import CompileActions
from .crate_checks import UnkeptCrate
from .crate_entry import crate_entry, crate_lookups, sources_in
from .crate_inputs import CrateInputs, crate_inputs
from .crate_lookups import CrateLookups
from .crates import Crates, UnknownCrate
from .dep_info import variables_in
from .elf import NotAProgram
from .file_states import FileStates
from .local_slots import LocalSlots
from .made import Made
from .manifest import Entry
from .model import Finished, Local
from .remote_run import Brought, Prepared, run_action
from .rustc_arguments import RustCompilation
from .rustc_compile import crate_arguments
from .rustc_environment import without_jobserver
from .service import Service
from .toolchain import ENV

_LARGEST_OUTPUT_BYTES = 64 << 20
_EMIT = "--emit="
_OF_EXECUTORS = ("PATH", "PWD", "TMPDIR")


@dataclass(frozen=True, slots=True)
class PreparedCrate(Prepared):
    """A crate as an action. `lookups` are of what stood in place of `sources` before."""

    inputs: CrateInputs
    sources: Sequence[str]
    lookups: CrateLookups


class RemoteCrates:
    """Prepares and runs misses of rustc. Safe for concurrent use by tasks.

    Crates that macros may be in are made here: those run in the compiler, and may look at files
    that nobody tells of.
    """

    def __init__(
        self, files: FileStates, crates: Crates, actions: CompileActions, slots: LocalSlots
    ) -> None:
        self._files = files
        self._crates = crates
        self._actions = actions
        self._slots = slots

    async def prepare(self, call: Call, compilation: RustCompilation) -> PreparedCrate | Local:
        """Finds what the call reads, and makes an action of it; Local says why it cannot."""
        try:
            async with self._slots.slot():
                inputs = await crate_inputs(call, compilation, self._crates, self._files)
                if inputs.closure.macros:
                    return Local("procedural macros run in its compiler")
                dep_info = await _dep_info(call, compilation)
            return self._prepare(call, compilation, inputs, dep_info)
        except (UnknownCrate, UnkeptCrate, NotAProgram) as error:
            return Local(str(error))
        except (FailedPrecondition, ResourceExhausted, NotFound, InvalidArgument) as error:
            return Local(error.message)
        except OSError as error:
            return Local(f"{error.filename} cannot be read: {error.strerror}")

    def _prepare(
        self, call: Call, compilation: RustCompilation, inputs: CrateInputs, dep_info: bytes
    ) -> PreparedCrate:
        assert compilation.depfile is not None
        sources = sources_in(call, dep_info)
        depfile = call.path(compilation.depfile.path)
        outputs = (*map(call.path, call.outputs), depfile)
        searched = (*compilation.crate_directories, *compilation.library_directories)
        action = self._actions.make(
            call.toolchain,
            # Cargo has a crate of a registry made there, and its outputs are elsewhere.
            arguments=(ENV, "-C", call.directory, call.compiler.path, *crate_arguments(call)),
            environment=_environment(call, variables_in(dep_info)),
            working_directory="/",
            outputs=outputs,
            inputs=[*sources, *(path for path, _ in inputs.records)],
            directories=(call.directory, *map(call.path, searched)),
            includes=False,
        )
        lookups = crate_lookups(call, compilation, inputs, sources)
        return PreparedCrate(action, outputs, depfile, inputs, sources, lookups)

    async def run(
        self, call: Call, compilation: RustCompilation, prepared: PreparedCrate, service: Service
    ) -> Made | Finished | Local:
        """Runs it, and brings what it made; Finished is that of a crate that failed."""
        brought = await run_action(prepared, service)
        if not isinstance(brought, Brought):
            return brought
        try:
            entry = self._entry(call, compilation, prepared, brought)
        except (UnkeptCrate, OSError, ValueError) as error:
            return Local(f"its result is not kept: {error}")
        return Made(entry, brought.blobs, slot_seconds=brought.slot_seconds)

    def _entry(
        self, call: Call, compilation: RustCompilation, prepared: PreparedCrate, brought: Brought
    ) -> Entry:
        if sources_in(call, brought.depfile) != prepared.sources:
            raise UnkeptCrate("it has read other sources than here")
        if not prepared.lookups.still_hold():
            raise UnkeptCrate("a file has come to stand where it looks for others")
        entry = crate_entry(
            call,
            compilation,
            prepared.inputs,
            brought.depfile,
            brought.result,
            brought.first_output,
            self._files,
        )
        if any(digest not in prepared.action.files for _, digest in entry.records):
            raise UnkeptCrate("what it is made of is changing")
        return entry


async def _dep_info(call: Call, compilation: RustCompilation) -> bytes:
    """What rustc here says of the sources and variables that it reads; it makes nothing else.

    Raises FailedPrecondition when it does not.
    """
    words = [str(word) for word in compilation.words if not word.before.startswith(_EMIT)]
    with tempfile.TemporaryDirectory(prefix="reapi-cc-") as scratch:
        path = os.path.join(scratch, "x.d")
        done = await run_process(
            [call.compiler.path, *words, f"{_EMIT}dep-info={path}", compilation.source],
            call.invocation.working_directory,
            without_jobserver(call.invocation.environment),
            largest_output_bytes=_LARGEST_OUTPUT_BYTES,
        )
        if done.exit_code:
            raise FailedPrecondition("rustc does not tell what it reads")
        return await asyncio.to_thread(Path(path).read_bytes)


def _environment(call: Call, asked: Sequence[str]) -> Mapping[str, str]:
    """The variables that rustc and the crate read. Raises FailedPrecondition for one that executors
    set by themselves."""
    for name in _OF_EXECUTORS:
        if name in asked:
            raise FailedPrecondition(f"it asks for {name}")
    environment = call.invocation.environment
    return dict(call.variables) | {name: environment[name] for name in asked if name in environment}
