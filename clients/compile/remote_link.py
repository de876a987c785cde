"""The way of a link or an archive to an executor, and what is known of it when it is back."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

from .action_command import DEPFILE
from .bounded_process import run_process
from .calls import Call
from .compile_action import CompileActions
from .file_states import FileStates
from .hits import Hits
from .inputs import reason_to_decline, records_of
from .library_path import LINKED, linked_files
from .link_inputs import DRY_RUN, link_inputs
from .linking import LIBRARY_PATH, library_directories
from .local_slots import LocalSlots
from .made import Made
from .manifest import Entry
from .model import Finished, Local, Product
from .remote_run import Brought, Prepared, run_action
from .results import as_shared
from .search_path import SearchPath
from .service import Service

_LARGEST_OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PreparedLink(Prepared):
    """A link or archive as an action. `given` are the files that the executor has for it."""

    given: frozenset[str]


class RemoteLinks:
    """Prepares and runs misses that are no compiles. Safe for concurrent use by tasks.

    The files are where they are here: whether a path is in the result is seen in that, as it is
    of a link on this machine.
    """

    def __init__(
        self, files: FileStates, hits: Hits, actions: CompileActions, slots: LocalSlots
    ) -> None:
        self._files = files
        self._hits = hits
        self._actions = actions
        self._slots = slots

    async def prepare(self, call: Call, search: SearchPath) -> PreparedLink | Local:
        """Finds what the call may read, and makes an action of it; Local says why it cannot."""
        if _adds(call):
            return Local("it adds to an archive that is there")
        try:
            given = await self._given(call, search)
        except (FailedPrecondition, ResourceExhausted) as error:
            return Local(error.message)
        except OSError as error:
            return Local(f"{error.filename} cannot be read: {error.strerror}")
        declined = reason_to_decline(self._files, call.compilation, given)
        if declined is not None:
            return Local(declined)
        return self._prepare(call, search, given)

    async def _given(self, call: Call, search: SearchPath) -> frozenset[str]:
        if call.compilation.product is Product.ARCHIVE:
            return frozenset(map(call.path, call.compilation.input_files))
        async with self._slots.slot():
            said = await run_process(
                [call.compiler.path, *call.invocation.arguments[1:], DRY_RUN],
                call.invocation.working_directory,
                call.invocation.environment,
                largest_output_bytes=_LARGEST_OUTPUT_BYTES,
            )
        if said.exit_code:
            raise FailedPrecondition("the driver does not tell how it links")
        return link_inputs(call, search, said.stderr, self._hits, self._files)

    def _prepare(
        self, call: Call, search: SearchPath, given: frozenset[str]
    ) -> PreparedLink | Local:
        output = _output_of(call)
        if call.path(output) in given:
            return Local("its output has the name of an input")
        is_archive = call.compilation.product is Product.ARCHIVE
        depfile = None if is_archive else DEPFILE
        outputs = (output,) if depfile is None else (output, depfile)
        try:
            action = self._actions.make(
                call.toolchain,
                arguments=_arguments(call, output),
                environment=_environment(call),
                working_directory=call.directory,
                outputs=outputs,
                inputs=sorted(given),
                directories=search.directories,
                includes=False,
            )
        except (NotFound, InvalidArgument) as error:
            return Local(error.message)
        return PreparedLink(action, outputs, depfile, given)

    async def run(
        self, call: Call, search: SearchPath, prepared: PreparedLink, service: Service
    ) -> Made | Finished | Local:
        """Runs it, and brings what it made; Finished is that of a tool that failed."""
        brought = await run_action(prepared, service)
        if not isinstance(brought, Brought):
            return brought
        result = brought.result
        if (result.stdout or result.stderr) and prepared.outputs[0] != call.compilation.output:
            return Local("what is said of it may name its output")
        entry = self._entry(call, search, prepared, brought)
        if isinstance(entry, Local):
            return entry
        return Made(entry, brought.blobs, slot_seconds=brought.slot_seconds)

    def _entry(
        self, call: Call, search: SearchPath, prepared: PreparedLink, brought: Brought
    ) -> Entry | Local:
        """What was made, and what it was made of."""
        if prepared.depfile is not None and not brought.depfile:
            return Local("its linker does not tell what it reads")
        names = (*call.compilation.input_files, *linked_files(brought.depfile))
        records = records_of(self._files, sorted({call.path(name) for name in names}))
        contents = prepared.action.files
        if records is None or any(digest not in contents for _, digest in records):
            return Local("what it is made of is changing, or not known")
        lookups = self._hits.lookups(call, records, search)
        if not prepared.given.issuperset(lookups.unread()):
            return Local("a file has come to stand where it looks for its libraries")
        is_exact = call.is_shared and _tells_root(call, brought.blobs.values())
        if not is_exact:
            brought.result.stderr = as_shared(call, brought.result.stderr)
        root = call.view.root if is_exact else ""
        return Entry(records, lookups.fingerprint(call.view), brought.result, root, lookups)


def _adds(call: Call) -> bool:
    is_archive = call.compilation.product is Product.ARCHIVE
    return is_archive and os.path.lexists(call.path(call.compilation.output))


def _output_of(call: Call) -> str:
    """Its name for the executor; outside of the working directory nothing can be made there.

    Of a name that gets into a library it is the last part that does.
    """
    output = call.compilation.output
    is_outside = os.path.relpath(call.path(output), call.directory).startswith("../")
    return os.path.basename(output) if is_outside else output


def _arguments(call: Call, output: str) -> Sequence[str]:
    words = [str(word) for word in call.compilation.words]
    if call.compilation.product is Product.ARCHIVE:
        operation, *members = words
        return call.compiler.command, operation, output, *members
    # The directories of the variable are searched after those that the driver has built in.
    own = words[: len(words) - len(library_directories(call.invocation.environment))]
    return call.compiler.command, *own, "-o", output, "-Xlinker", f"{LINKED}{DEPFILE}"


def _environment(call: Call) -> dict[str, str]:
    directories = call.invocation.environment.get(LIBRARY_PATH)
    return dict(call.variables) | ({LIBRARY_PATH: directories} if directories else {})


def _tells_root(call: Call, outputs: Iterable[bytes]) -> bool:
    return any(os.fsencode(call.view.root) in data for data in outputs)
