"""The way of a miss to an executor: what it reads, the input root, the action, the outputs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .action_command import (
    DEPFILE,
    arguments_of,
    is_preprocessed,
    output_of,
    outputs_of,
    tells_inputs,
)
from .bounded_process import run_process
from .calls import Call
from .command_lines import (
    coloured,
    compile_preprocessed_arguments,
    dependency_arguments,
    depfile_arguments,
    preprocess_arguments,
)
from .compile_action import CompileActions
from .dependencies import prerequisites
from .depfile import parse_rule
from .file_states import FileStates
from .hits import Hits
from .inputs import precompiled, reason_to_decline, records_of, use_file_names
from .local_slots import LocalSlots
from .made import Made
from .manifest import Entry, Record
from .model import CANONICAL_ROOT, Finished, Local, View
from .packing import pack
from .remote_run import Prepared, run_action
from .search_path import SearchPath
from .service import Service
from .views import exact_view

_PREPROCESSED = "reapi-cc.i"
_STAND_IN = b"asked for and not read"

_LARGEST_OUTPUT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class PreparedCompile(Prepared):
    """A compile as an action; the depfile is the last of its outputs.

    `inputs` are known if the compiler here was asked for them; else its depfile will tell. `rule`
    is the depfile's, `records` what the inputs were and `stderr` what it had to say of them, if the
    compiler here has read them.
    """

    view: View
    inputs: Sequence[str] | None
    rule: bytes | None = None
    records: Sequence[Record] | None = None
    stderr: bytes = b""


class RemoteCompiles:
    """Prepares and runs misses. Safe for concurrent use by tasks."""

    def __init__(
        self, files: FileStates, hits: Hits, actions: CompileActions, slots: LocalSlots
    ) -> None:
        self._files = files
        self._hits = hits
        self._actions = actions
        self._slots = slots

    async def prepare(
        self, call: Call, search: SearchPath, *, is_exact: bool = False
    ) -> PreparedCompile | Local:
        """Finds what the call may read, and makes an action of it.

        `is_exact`: the checkout is where it really is, whatever the call's view says.
        """
        try:
            return await self._find_and_prepare(call, search, is_exact=is_exact)
        except (FailedPrecondition, ResourceExhausted) as error:
            return Local(error.message)

    async def _find_and_prepare(
        self, call: Call, search: SearchPath, *, is_exact: bool
    ) -> PreparedCompile | Local:
        keeps_headers = call.settings.compile.mode == "preprocess"
        if tells_inputs(call.compilation) and not keeps_headers:
            paths = self._hits.closure(call, search)
            if paths is not None:
                paths += map(call.path, call.compilation.input_files)
                prepared = self._prepare(call, search, paths, inputs=None, is_exact=is_exact)
                if isinstance(prepared, PreparedCompile):
                    return prepared
        # It is too much, or not known: its compiler knows exactly.
        async with self._slots.slot():
            found = await self._run(call, dependency_arguments(call.compilation))
            rule = None if found.exit_code else parse_rule(found.stdout)
            if rule is None and not is_preprocessed(call.compilation):
                return Local("the compiler cannot read all that it includes")
            names = rule.prerequisites if rule else ()
            inputs = sorted({call.path(name) for name in _named(call, names)})
            declined = reason_to_decline(self._files, call.compilation, inputs)
            if declined is not None:
                return Local(declined)
            if keeps_headers:
                return await self._preprocess(call, inputs)
        return self._prepare(call, search, inputs, inputs=inputs, is_exact=is_exact)

    def _prepare(
        self,
        call: Call,
        search: SearchPath,
        paths: Sequence[str],
        *,
        inputs: Sequence[str] | None,
        is_exact: bool,
    ) -> PreparedCompile | Local:
        """Of `inputs` those are known that are all, and no more."""
        declined = reason_to_decline(self._files, call.compilation, [call.source])
        if declined is not None:
            return Local(declined)
        # Where the checkout really is, if its path may get into the result.
        is_exact |= call.depends_on_names and use_file_names(self._files, call.compilation, paths)
        view = exact_view(call.view.root) if is_exact else call.view
        has_depfile = call.compilation.depfile is not None or tells_inputs(call.compilation)
        outputs = outputs_of(call, has_depfile=has_depfile)
        if isinstance(outputs, Local):
            return outputs
        make = partial(
            self._actions.make,
            call.toolchain,
            environment=dict(call.variables),
            working_directory=call.directory,
            outputs=outputs,
            inputs=sorted(paths),
            directories=search.directories,
            made_up={} if inputs is None else self._stand_ins(call, search, inputs),
        )
        try:
            try:
                action = make(arguments=arguments_of(call, view), view=view)
            except NotFound:
                # A path that leads out of the checkout and to what is beside it.
                if not _is_moved(view):
                    raise
                view = exact_view(call.view.root)
                action = make(arguments=arguments_of(call, view), view=view)
        except (NotFound, InvalidArgument) as error:
            return Local(error.message)
        depfile = DEPFILE if has_depfile else None
        return PreparedCompile(action, outputs, depfile, view, inputs)

    def _stand_ins(self, call: Call, search: SearchPath, inputs: Sequence[str]) -> dict[str, bytes]:
        """Files that gcc asks for, and does not name as it reads no more of them (__has_include).

        There is something in them if there is here (__has_embed tells).
        """
        records = records_of(self._files, inputs) or []
        unread = self._hits.lookups(call, records, search).unread()
        return {path: _STAND_IN if os.path.getsize(path) else b"" for path in unread}

    async def _preprocess(self, call: Call, inputs: Sequence[str]) -> PreparedCompile | Local:
        """An action of the preprocessed source alone: nothing else leaves this machine."""
        compilation = call.compilation
        if any(str(word).startswith(("-g3", "-ggdb3")) for word in compilation.words):
            return Local("the debug information of macros needs the headers, which are to stay")
        records = records_of(self._files, inputs)
        preprocessing = (*preprocess_arguments(compilation), *coloured(compilation))
        text = await self._run(call, preprocessing)
        rule = Finished(0)
        if compilation.depfile is not None:
            rule = await self._run(call, depfile_arguments(compilation))
        outputs = outputs_of(call, has_depfile=False)
        if text.exit_code or rule.exit_code:
            return Local("the compiler cannot preprocess it")
        if isinstance(outputs, Local):
            return outputs
        if records is None or not self._files.hold(records):
            return Local("what it includes is changing")
        view = exact_view(call.view.root)
        arguments = compile_preprocessed_arguments(
            compilation, view, source=_PREPROCESSED, output=output_of(compilation)
        )
        try:
            action = self._actions.make(
                call.toolchain,
                arguments=(call.compiler.command, *arguments),
                environment=dict(call.variables),
                working_directory=call.directory,
                outputs=outputs,
                inputs=[call.path(path) for path in compilation.input_files],
                made_up={call.path(_PREPROCESSED): text.stdout},
                view=view,
            )
        except (NotFound, InvalidArgument) as error:
            return Local(error.message)
        return PreparedCompile(
            action, outputs, None, view, inputs, rule.stdout, records, text.stderr
        )

    async def _run(self, call: Call, arguments: Sequence[str]) -> Finished:
        """What the compiler here says, with no effect but that."""
        return await run_process(
            [call.compiler.path, *arguments],
            call.invocation.working_directory,
            call.invocation.environment,
            largest_output_bytes=_LARGEST_OUTPUT_BYTES,
        )

    async def run(
        self, call: Call, search: SearchPath, prepared: PreparedCompile, service: Service
    ) -> Made | Finished | Local:
        """Runs it, and brings what it made; Finished is that of a compile that failed.

        What no option keeps out of a result, such as clang's name of a lambda, is found in it: then
        it is made again, where the checkout really is.
        """
        made = await self._make(call, search, prepared, service)
        if not isinstance(made, Made) or not _is_moved(prepared.view) or not _tells_root(made):
            return made
        again = await self.prepare(call, search, is_exact=True)
        return again if isinstance(again, Local) else await self._make(call, search, again, service)

    async def _make(
        self, call: Call, search: SearchPath, prepared: PreparedCompile, service: Service
    ) -> Made | Finished | Local:
        brought = await run_action(prepared, service)
        if isinstance(brought, Local):
            return brought
        if isinstance(brought, Finished):
            return replace(brought, stderr=prepared.stderr + brought.stderr)
        brought.result.stderr = prepared.stderr + brought.result.stderr
        rule = brought.depfile if prepared.rule is None else prepared.rule
        if call.compilation.depfile is not None:
            brought.result.depfile = pack(rule)
        entry = self._entry(call, search, prepared, brought.result, rule)
        if isinstance(entry, Local):
            return entry
        return Made(entry, brought.blobs, slot_seconds=brought.slot_seconds)

    def _entry(
        self,
        call: Call,
        search: SearchPath,
        prepared: PreparedCompile,
        made: manifest_pb2.Result,
        rule: bytes,
    ) -> Entry | Local:
        """What was made, and what it was made of."""
        inputs = prepared.inputs
        if inputs is None:
            told = prerequisites(rule)
            if told is None:
                return Local("what it reads cannot be told")
            names = map(prepared.view.here, told)
            inputs = sorted({call.path(name) for name in _named(call, names)})
            declined = reason_to_decline(self._files, call.compilation, inputs)
            if declined is not None:
                return Local(declined)
        records = prepared.records or self._records(prepared, inputs)
        if records is None:
            return Local("what it includes is changing")
        lookups = self._hits.lookups(call, records, search)
        declined = precompiled(lookups.unread())
        if declined is not None:
            return Local(declined)
        is_exact = call.is_shared and not _is_moved(prepared.view)
        root = call.view.root if is_exact else ""
        return Entry(records, lookups.fingerprint(call.view), made, root, lookups)

    def _records(self, prepared: PreparedCompile, inputs: Sequence[str]) -> list[Record] | None:
        """The inputs, if they still are what the executor was given."""
        records = records_of(self._files, inputs)
        contents = prepared.action.files
        if records is None or any(digest not in contents for _, digest in records):
            return None
        return records


def _tells_root(made: Made) -> bool:
    """Whether an output says where the compiler saw the checkout; texts are made to fit later."""
    outputs = {item.hash.hex() for item in made.entry.result.outputs}
    root = CANONICAL_ROOT.encode()
    return any(digest.hash in outputs and root in data for digest, data in made.blobs.items())


def _is_moved(view: View) -> bool:
    return view.root != view.seen_at


def _named(call: Call, names: Iterable[str]) -> Iterator[str]:
    """All that a compile reads, by the names that the call and the compiler have for it."""
    yield call.compilation.source
    yield from names
    yield from call.compilation.input_files
