"""What a crate is made of beside its sources, known before rustc runs."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .calls import Call
from .crate_checks import UnkeptCrate, check_open_directories
from .crates import Closure, Crates
from .elf import loaded_files
from .file_states import FileStates
from .inputs import records_of
from .manifest import Record
from .rustc_arguments import RustCompilation


@dataclass(frozen=True, slots=True)
class CrateInputs:
    """Crates, libraries and other files as they are now."""

    records: Sequence[Record]
    closure: Closure


async def crate_inputs(
    call: Call, compilation: RustCompilation, crates: Crates, files: FileStates
) -> CrateInputs:
    """Finds them. Raises UnknownCrate, UnkeptCrate, NotAProgram, and OSError for what cannot be
    read."""
    closure = crates.closure(
        map(call.path, compilation.crates),
        map(call.path, compilation.crate_directories),
        made=frozenset(map(call.path, call.outputs)),
    )
    check_open_directories(map(call.path, compilation.open_directories))
    paths = [
        *closure.files,
        *map(call.path, compilation.input_files),
        *filter(os.path.isfile, map(call.path, compilation.library_candidates)),
        *await asyncio.to_thread(_libraries_of, call, closure.macros),
    ]
    manifest = call.invocation.environment.get("CARGO_MANIFEST_DIR")
    if closure.macros and manifest is not None:
        # Macros that generate paths to other crates look there for their names.
        paths += filter(os.path.isfile, [os.path.join(manifest, "Cargo.toml")])
    return CrateInputs(crate_records(files, paths), closure)


def crate_records(files: FileStates, paths: Iterable[str]) -> list[Record]:
    """Files with their contents; raises UnkeptCrate when one is gone."""
    records = records_of(files, sorted(set(paths)))
    if records is None:
        raise UnkeptCrate("what it is made of is changing")
    return records


def _libraries_of(call: Call, macros: Iterable[str]) -> list[str]:
    """What the libraries of macros load, but for what rustc loads itself."""
    loaded: list[str] = []
    for path in macros:
        loaded += loaded_files(path, call.invocation.environment, like=call.compiler.path)
    return [path for path in loaded if path not in call.toolchain.files]
