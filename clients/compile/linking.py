"""What a call of gcc or clang that only links asks for: one program or shared library of objects.

What is not known stays on this machine: linkers read and write files that no argument shows.
"""

import re
from collections.abc import Iterator, Mapping

from .linker_options import linker_options, linker_words
from .locality import inputs_of, why_of_options, why_of_place
from .model import Compilation, Family, Invocation, Local, Product, Word
from .options import Meaning
from .parsing import Argument, read
from .response_files import expand
from .surroundings import has

LIBRARY_PATH = "LIBRARY_PATH"
"""Its directories are searched after those of -L."""

LINKER_VARIABLES = ("LD_RUN_PATH", "LDEMULATION", "COLLECT_NAMES", "COLLECT_NO_DEMANGLE")
"""Those that change what linkers make; where they look is asked of them."""

_LINKED = re.compile(r".*\.(?:o|os|obj|a)|.*\.so(?:\.\d+)*")
_OPTIONS_WITHOUT_EFFECT = (
    *(Meaning.HARMLESS, Meaning.PATH, Meaning.PREFIX_MAP, Meaning.DEBUG, Meaning.SPLIT_DWARF),
    *(Meaning.DEBUG_DIRECTORY, Meaning.COVERAGE, Meaning.NOTES, Meaning.AUXILIARY),
    *(Meaning.COLOUR, Meaning.DEPENDENCIES, Meaning.PASSED_ON, Meaning.OUTPUT, Meaning.INPUT_FILE),
)
"""On which files are read and written but by what they name."""

_ROOTS = ("--sysroot", "--sysroot=", "-isysroot")
_DEFAULT_OUTPUT = "a.out"


def understand_link(
    invocation: Invocation, family: Family, root: str | None
) -> Compilation | Local:
    """Of a call that `understand` takes for a link."""
    expanded = expand(invocation.arguments[1:], invocation.working_directory)
    if isinstance(expanded, Local):
        return expanded
    arguments = read(expanded, family)
    inputs = inputs_of(arguments)
    told = linker_options(linker_words(expanded))
    outputs = [a.value for a in arguments if a.option.meaning is Meaning.OUTPUT]
    output = outputs[0] if outputs else _DEFAULT_OUTPUT
    declined = (
        why_of_place(arguments, invocation, root)
        or why_of_options(arguments)
        or _why_of_variables(invocation)
        or _why_of_arguments(arguments)
    )
    if declined is not None:
        return declined
    if told.unknown is not None:
        return Local(f"the linker's {told.unknown} is not known here")
    if len(outputs) > 1 or output.startswith("/dev/") or output.endswith("/"):
        return Local("its output is no file of its own")
    return Compilation(
        family=family,
        words=tuple(map(Word, _words(arguments, invocation))),
        source=inputs[0],
        language="",
        output=output,
        input_files=(*inputs, *told.files),
        # Of a library without a soname it is the name of its first version.
        names_output=True,
        product=Product.PROGRAM,
    )


def library_directories(environment: Mapping[str, str]) -> list[str]:
    """The directories of LIBRARY_PATH: the last words of a link name them, too."""
    return [directory for directory in environment.get(LIBRARY_PATH, "").split(":") if directory]


def _words(arguments: list[Argument], invocation: Invocation) -> Iterator[str]:
    for argument in arguments:
        if argument.option.meaning is not Meaning.OUTPUT:
            yield from argument.words
    for directory in library_directories(invocation.environment):
        yield f"-L{directory}"


def _why_of_variables(invocation: Invocation) -> Local | None:
    for name in LINKER_VARIABLES:
        if name in invocation.environment:
            return Local(f"{name} is set")
    return None


def _why_of_arguments(arguments: list[Argument]) -> Local | None:
    for path in inputs_of(arguments):
        if not _LINKED.fullmatch(path):
            return Local("it links what is no object or library by its name")
    for argument in arguments:
        name, value = argument.option.name, argument.value
        if any(word.startswith("-flto") for word in argument.words):
            return Local("link-time optimisation is done here")
        if argument.option.meaning not in _OPTIONS_WITHOUT_EFFECT:
            return Local(f"{argument.words[0]} is not known of a link")
        if name in _ROOTS or (name == "-L" and value.startswith(("=", "$SYSROOT"))):
            return Local("it links for a system root of its own")
        if name == "-l" and "/" in value:
            return Local("a library has a directory in its name")
    if has(arguments, Meaning.LANGUAGE):
        return Local("it says what its inputs are (-x)")
    return None
