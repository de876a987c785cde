"""Makes a crate on this machine, in a slot, and keeps what came of it."""

import time
from dataclasses import replace

from reapi.protos.reapi.compile.v1 import manifest_pb2

from .bounded_process import run_process
from .calls import Call
from .crate_checks import UnkeptCrate, check_unchanged
from .crate_entry import crate_entry, sources_in
from .crate_inputs import CrateInputs, crate_inputs
from .crates import Crates, UnknownCrate
from .elf import NotAProgram
from .file_states import FileStates
from .local_cache import LocalCache
from .local_compile import LARGEST_TEXT_BYTES, add_output
from .local_slots import LocalSlots
from .made import Made
from .model import Finished, Local
from .outcome import Outcome, OutcomeKind
from .rustc_arguments import RustCompilation
from .rustc_environment import without_jobserver

_CLOCK_OF_FILES = 5
"""CLOCK_REALTIME_COARSE, by which the kernel stamps files and for which Python has no name."""

_COLOURED = "--color=always"
"""What a caller does not want is taken out again."""


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
                inputs = await crate_inputs(call, compilation, self._crates, self._files)
            except (UnknownCrate, UnkeptCrate, NotAProgram) as error:
                return Local(str(error))
            except OSError as error:
                return Local(f"{error.filename} cannot be read: {error.strerror}")
            began_ns = time.clock_gettime_ns(_CLOCK_OF_FILES)
            done = await run_process(
                [call.compiler.path, *crate_arguments(call)],
                call.invocation.working_directory,
                without_jobserver(call.invocation.environment),
                largest_output_bytes=LARGEST_TEXT_BYTES,
                umask=call.invocation.umask,
            )
            if done.exit_code:
                return done
            try:
                return self._made(call, compilation, inputs, began_ns, done)
            except (UnkeptCrate, OSError, ValueError) as error:
                reason = f"its result is not kept: {error}"
                return replace(done, outcome=Outcome(OutcomeKind.MISS_LOCAL, reason=reason))

    def _made(
        self,
        call: Call,
        compilation: RustCompilation,
        inputs: CrateInputs,
        began_ns: int,
        done: Finished,
    ) -> Made:
        assert compilation.depfile is not None
        with open(call.path(compilation.depfile.path), "rb") as file:
            dep_info = file.read()
        check_unchanged(sources_in(call, dep_info), began_ns)
        result = manifest_pb2.Result(stdout=done.stdout, stderr=done.stderr)
        outputs = [
            add_output(result, index, call.path(name), self._cache)
            for index, name in enumerate(call.outputs)
        ]
        entry = crate_entry(call, compilation, inputs, dep_info, result, outputs[0], self._files)
        return Made(entry, {}, is_delivered=True)


def crate_arguments(call: Call) -> tuple[str, ...]:
    """Those of its caller, and what makes the crate fit for others."""
    arguments = [*call.invocation.arguments[1:]]
    if call.compilation.asks_for_colour is None:
        arguments.append(_COLOURED)
    if call.settings.compile.portable and call.is_shared:
        arguments.append(f"--remap-path-prefix={call.view.root}=.")
    return tuple(arguments)
