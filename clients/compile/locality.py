"""Which calls stay on this machine, and why: those that compile nothing, probes of build systems,
sources that are gone in a moment (J5), and options that nobody else could obey, or that nobody
here knows."""

import os
import re
from collections.abc import Mapping

from .depfiles import passed_on_rule
from .model import Invocation, Local
from .options import Meaning
from .parsing import Argument
from .surroundings import has, is_below, is_known_debug

TEMPORARY_DIRECTORIES = ("/tmp", "/var/tmp")
"""TMPDIR counts, too."""

SIDE_EFFECTS = (
    "DEPENDENCIES_OUTPUT",
    "SUNPRO_DEPENDENCIES",
    "GCC_COMPARE_DEBUG",
    "CCC_OVERRIDE_OPTIONS",
    "CCC_ADD_ARGS",
    "CC_PRINT_OPTIONS",
    "CC_PRINT_HEADERS",
    "CC_PRINT_INTERNAL_STAT",
    "CC_PRINT_PROC_STAT",
    "CC_LOG_DIAGNOSTICS",
    "CC_GENERATE_CDB",
    "GEN_REPRODUCER",
)
"""Variables by which a compiler writes more files or obeys other options than those given."""

_PROBES = re.compile(
    r"/conftest[^/]*\.[^/]+$"
    r"|/CMakeFiles/(?:CMakeScratch|CMakeTmp)/"
    r"|/CMakeTmp/"
    r"|/CMakeFiles/[^/]+/CompilerId[^/]*/"
    r"|/meson-private/(?:tmp|sanitycheck)"
)
"""Sources of autoconf, CMake (try_compile and the identification of the compiler) and Meson.

A project may have CMake try to compile a source of its own, so the working directory counts too.
"""

LINKS = Local("it links, or checks the syntax alone")

_FOR_PREPROCESSOR = ("-D", "-U", "-fopenmp", "-undef")
_FOR_ASSEMBLER = ("--noexecstack", "--execstack", "--fatal-warnings", "--warn", "--no-warn", "-W")
_FOR_ASSEMBLER_TOO = ("-m", "--compress-debug-sections", "--32", "--64", "--x32", "--noexecstack")
_FOR_FRONT_END = (
    "-fcolor-diagnostics",
    "-fno-pch-timestamp",
    "-disable-O0-optnone",
    "-disable-llvm-passes",
)


def inputs_of(arguments: list[Argument]) -> list[str]:
    return [a.value for a in arguments if a.option.meaning is Meaning.INPUT_FILE]


def why_of_kind(arguments: list[Argument]) -> Local | None:
    """The reasons of all calls that are no compiles."""
    if has(arguments, Meaning.PROBE):
        return Local("it asks about the compiler", is_work=False)
    if not inputs_of(arguments):
        return Local("it has no source", is_work=False)
    if has(arguments, Meaning.PREPROCESS):
        return Local("it only preprocesses")
    if not has(arguments, Meaning.COMPILE, Meaning.ASSEMBLY):
        return LINKS
    return None


def why_of_place(
    arguments: list[Argument], invocation: Invocation, root: str | None
) -> Local | None:
    environment = invocation.environment
    reason = _why_of_environment(environment)
    for source in inputs_of(arguments):
        reason = reason or why_of_source(source, invocation.working_directory, environment, root)
    return Local(reason) if reason else None


def why_of_options(arguments: list[Argument]) -> Local | None:
    for argument in arguments:
        if argument.option.meaning is Meaning.UNKNOWN:
            return Local(f"{argument.words[0]} is not known here")
        reason = _why_of(argument)
        if reason is not None:
            return Local(reason)
    return None


def why_of_sources(arguments: list[Argument]) -> Local | None:
    inputs = inputs_of(arguments)
    if len(inputs) > 1:
        return Local("several sources in one call")
    if inputs == ["-"]:
        return Local("the source comes from stdin")
    return None


def _why_of(argument: Argument) -> str | None:
    """The reason of an option that is known, but stays for what it says."""
    name, value = argument.option.name, argument.value
    unknown = f"{' '.join(argument.words)} is not known here"
    match argument.option.meaning:
        case Meaning.LOCAL:
            return argument.option.detail
        case Meaning.HARMLESS if name == "-m":
            if "=native" in value:
                return f"-m{value} means this machine"
            return unknown if "/" in value or value.startswith(("dump", "print")) else None
        case Meaning.HARMLESS if name == "-fplugin-arg-":
            return unknown if "/" in value else None
        case Meaning.DEBUG:
            return None if is_known_debug(argument) else unknown
        case Meaning.COLOUR if not argument.option.detail:
            return None if value in ("always", "never", "auto") else unknown
        case Meaning.PATH if name == "-I" and value == "-":
            return "-I- divides the directories of headers"
        case Meaning.PREFIX_MAP:
            return None if value.count("=") == 1 else unknown
        case Meaning.INPUT:
            return _why_of_input(name, value)
        case Meaning.PASSED_ON:
            return None if _is_understood(argument) else unknown
    return None


def _why_of_input(name: str, value: str) -> str | None:
    if name.startswith("-fprofile") and not os.path.splitext(value)[1]:
        return "the profile it uses may be a directory"
    if name in ("-specs=", "--specs=", "-fplugin=") and "/" not in value:
        return f"{name}{value} is looked for in several places"
    return None if value else f"{name} names no file"


def _is_understood(argument: Argument) -> bool:
    """What is passed on to a part of the compiler is harmless there."""
    match argument.option.name:
        case "-Wp,":
            return passed_on_rule(argument) is not None or all(
                part.startswith(_FOR_PREPROCESSOR[:2]) for part in argument.value.split(",")
            )
        case "-Xpreprocessor":
            return argument.value.startswith(_FOR_PREPROCESSOR) and len(argument.value) > 2
        case "-Xclang":
            return argument.value in _FOR_FRONT_END
        case _:
            return all(_is_for_assembler(part) for part in argument.value.split(","))


def _is_for_assembler(part: str) -> bool:
    if part in _FOR_ASSEMBLER:
        return True
    return part.startswith(_FOR_ASSEMBLER_TOO) and "/" not in part and "=native" not in part


def _why_of_environment(environment: Mapping[str, str]) -> str | None:
    """The reason to stay, or None."""
    for name in SIDE_EFFECTS:
        if name in environment:
            return f"{name} is set"
    return None


def why_of_source(
    source: str, working_directory: str, environment: Mapping[str, str], root: str | None
) -> str | None:
    """The reason to stay, or None. A checkout whose root is in a temporary directory may go."""
    path = os.path.normpath(os.path.join(working_directory, source))
    if _PROBES.search(path) or _PROBES.search(f"{working_directory}/"):
        return "it is a check of a configuration"
    if root is not None and is_below(path, root):
        return None
    for directory in (*TEMPORARY_DIRECTORIES, environment.get("TMPDIR", "")):
        if directory.startswith("/") and is_below(path, directory):
            return f"its source is temporary, below {directory}"
    return None
