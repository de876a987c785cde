"""What the compiler is told to do and to write where an executor runs it."""

import os

from .calls import Call
from .command_lines import compile_arguments
from .languages import PREPROCESSED
from .model import Compilation, Depfile, Local, View

DEPFILE = "reapi-cc.d"
_OUTPUT = "reapi-cc.o"
"""What the compiler writes where nobody sees the name of it."""


def tells_inputs(compilation: Compilation) -> bool:
    """Whether the compile itself says what it has read, in the one depfile that it can write."""
    depfile = compilation.depfile
    is_free = depfile is None or not depfile.leaves_out_system_headers
    return is_free and not is_preprocessed(compilation)


def is_preprocessed(compilation: Compilation) -> bool:
    """Whether its source includes nothing more."""
    return compilation.language in PREPROCESSED.values()


def outputs_of(call: Call, *, has_depfile: bool) -> list[str] | Local:
    """The outputs as the Command names them: relative to the working directory."""
    paths = [_OUTPUT]
    if _keeps_names(call.compilation):
        paths = []
        for name in call.outputs:
            path = os.path.relpath(call.path(name), call.directory)
            if path.startswith("../"):
                return Local("it names its outputs, and they are outside of its working directory")
            paths.append(path)
    return [*paths, DEPFILE] if has_depfile else paths


def output_of(compilation: Compilation) -> str:
    """The name of the object."""
    return compilation.output if _keeps_names(compilation) else _OUTPUT


def _keeps_names(compilation: Compilation) -> bool:
    return compilation.names_output or bool(compilation.extra_outputs)


def arguments_of(call: Call, view: View) -> tuple[str, ...]:
    """The command of a compile whose files are as `view` says."""
    compilation = call.compilation
    arguments = compile_arguments(compilation, view, output=output_of(compilation))
    arguments = (call.compiler.command, *arguments)
    if call.settings.compile.portable and call.is_shared:
        arguments += (f"-ffile-prefix-map={view.seen_at}=.",)
    if compilation.depfile is not None:
        arguments += tuple(_depfile_arguments(compilation.depfile, view))
    elif tells_inputs(compilation):
        arguments += ("-MD", "-MF", DEPFILE)
    return arguments


def _depfile_arguments(depfile: Depfile, view: View) -> list[str]:
    kind = "-MMD" if depfile.leaves_out_system_headers else "-MD"
    return [kind, "-MF", DEPFILE, *(view.there(option) for option in depfile.options)]
