"""A crate that was made as it is kept: what it was made of, and what was said of it."""

from collections.abc import Iterable, Sequence

from reapi.protos.reapi.compile.v1 import manifest_pb2

from .calls import Call
from .crate_checks import UnkeptCrate, check_bundled, check_included
from .crate_inputs import CrateInputs, crate_records
from .crate_lookups import CrateLookups
from .dep_info import variables_in, variables_of
from .dependencies import prerequisites
from .file_states import FileStates
from .manifest import Entry
from .packing import pack
from .results import as_shared
from .rustc_arguments import RustCompilation
from .rustc_environment import variables_of_macros
from .views import is_below


def sources_in(call: Call, dep_info: bytes) -> list[str]:
    """The files that dep-info tells, absolute; raises UnkeptCrate if it does not."""
    named = prerequisites(dep_info)
    if named is None:
        raise UnkeptCrate("its dep-info is no make rule")
    return sorted({call.source, *map(call.path, named)})


def crate_entry(
    call: Call,
    compilation: RustCompilation,
    inputs: CrateInputs,
    dep_info: bytes,
    result: manifest_pb2.Result,
    library: bytes,
    files: FileStates,
) -> Entry:
    """`result` has the outputs and what rustc printed; `library` is the first output.

    Raises UnkeptCrate for what is not to be kept, OSError and ValueError for what cannot be read.
    """
    sources = sources_in(call, dep_info)
    check_included(sources)
    if len(result.outputs) != len(call.outputs):
        raise UnkeptCrate("it has not made all its outputs")
    if compilation.output.endswith(".rlib"):
        check_bundled(library, sources, is_named=bool(compilation.static_libraries))
    records = crate_records(files, [*sources, *(path for path, _ in inputs.records)])
    if not set(inputs.records) <= set(records):
        raise UnkeptCrate("a crate that it is made of has changed meanwhile")
    result.stderr = as_shared(call, result.stderr)
    result.depfile = pack(as_shared(call, dep_info))
    lookups = crate_lookups(call, compilation, inputs, sources)
    return Entry(
        records,
        lookups.fingerprint(call.view),
        result,
        call.view.root if _is_of_one_checkout(call, sources) else "",
        lookups,
        variables_of(_asked(call, inputs, dep_info), call.invocation.environment),
    )


def crate_lookups(
    call: Call, compilation: RustCompilation, inputs: CrateInputs, sources: Sequence[str]
) -> CrateLookups:
    """What stands now where another input might."""
    paths = sorted({*sources, *(path for path, _ in inputs.records)})
    return CrateLookups(compilation, call.directory, paths)


def _asked(call: Call, inputs: CrateInputs, dep_info: bytes) -> set[str]:
    asked = {*variables_in(dep_info)}
    if inputs.closure.macros:
        asked.update(variables_of_macros(call.invocation.environment))
    return asked


def _is_of_one_checkout(call: Call, sources: Iterable[str]) -> bool:
    """Whether a path of the checkout may be in the crate, although its call names none."""
    is_mapped = call.settings.compile.portable
    return call.is_shared and not is_mapped and any(is_below(s, call.view.root) for s in sources)
