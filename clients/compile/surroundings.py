"""What the outputs of a compile carry of its surroundings, and which outputs there are beside the
object: debug information, coverage, records of the compiler."""

import os
import re

from .model import Family
from .options import Meaning
from .parsing import Argument

_DEBUG_DETAIL = re.compile(
    r"(?:no-|as-|record-|strict-|statement-|variable-|inline-|internal-|describe-|embed-|simple-)"
    r"[a-z-]+(?:=[a-z0-9]+)?"
    r"|(?:gnu-)?pubnames|column-info|dwarf(?:32|64)|dwarf-aranges|z(?:=.*)?|codeview-ghash"
)
"""Of -g…: how it is written rather than whether."""
_DEBUG_LEVEL = re.compile(
    r"[0-3]?|(?:gdb|dwarf|stabs\+?|coff|xcoff\+?|vms)[0-3]?|dwarf-[2-6]|lldb|sce|dbx|codeview"
    r"|ctf[0-2]?|btf|prune-btf|line-tables-only|line-directives-only|mlt|full|used|key-instructions"
)


def is_known_debug(argument: Argument) -> bool:
    value = argument.value
    return bool(_DEBUG_LEVEL.fullmatch(value) or _DEBUG_DETAIL.fullmatch(value))


def is_debugged(arguments: list[Argument], family: Family) -> bool:
    """Debug information is made: the last level says so, and -gsplit-dwarf is one for gcc."""
    result = False
    for argument in arguments:
        meaning = argument.option.meaning
        if meaning is Meaning.DEBUG and _DEBUG_LEVEL.fullmatch(argument.value):
            result = not argument.value.endswith("0")
        elif meaning is Meaning.SPLIT_DWARF and family is Family.GCC:
            result = True
    return result


def splits_debug(arguments: list[Argument]) -> bool:
    """A .dwo may be made: -gsplit-dwarf is on. `=single` keeps it in the object."""
    last = [a for a in arguments if a.option.meaning is Meaning.SPLIT_DWARF][-1:]
    return any(a.option.name != "-gno-split-dwarf" and a.value != "single" for a in last)


def names_output(arguments: list[Argument]) -> bool:
    """The object, or what is written beside it, has names of outputs in it."""
    named = (Meaning.NOTES, Meaning.COVERAGE, Meaning.AUXILIARY, Meaning.SPLIT_DWARF)
    return has(arguments, *named)


def has(arguments: list[Argument], *meanings: Meaning) -> bool:
    return any(argument.option.meaning in meanings for argument in arguments)


def extra_outputs(
    arguments: list[Argument],
    family: Family,
    output: str,
    *,
    makes_assembly: bool,
    is_assembler: bool,
) -> tuple[str, ...]:
    """Both families name them after the output, whose last suffix is replaced."""
    suffixes: list[str] = []
    if not is_assembler:
        suffixes += [
            argument.option.detail
            for argument in arguments
            if argument.option.meaning in (Meaning.AUXILIARY, Meaning.NOTES)
        ]
    # gcc takes one out of an object that has no debug information, too.
    may_split = family is Family.GCC or is_debugged(arguments, family)
    if splits_debug(arguments) and may_split and not makes_assembly:
        suffixes.append("dwo")
    stem = os.path.splitext(output)[0]
    return tuple(f"{stem}.{suffix}" for suffix in dict.fromkeys(suffixes))


def carries_directory(
    arguments: list[Argument],
    family: Family,
    directories: set[str],
    *,
    root: str | None,
    is_assembler: bool,
) -> bool:
    """`directories`: the names that the compiler may know the working directory by.

    A prefix map takes the directory out of debug information if what it leaves of it is the same
    in every checkout: it begins below the root, or at the directory itself.
    """
    if has(arguments, Meaning.NOTES, Meaning.COVERAGE, Meaning.LINK_TIME):
        return True
    if not is_debugged(arguments, family):
        return False
    if has(arguments, Meaning.DEBUG_DIRECTORY) and not is_assembler:
        return False
    old_paths = [
        argument.value.partition("=")[0]
        for argument in arguments
        if argument.option.name in ("-ffile-prefix-map=", "-fdebug-prefix-map=")
    ]
    return is_assembler or not all(
        _is_mapped(directory, old_paths, root) for directory in directories
    )


def _is_mapped(directory: str, old_paths: list[str], root: str | None) -> bool:
    """Compilers compare beginnings of strings, and differ in which of several maps they take."""
    matching = [old for old in old_paths if directory.startswith(old)]
    return bool(matching) and all(
        old == directory or (root is not None and is_below(old, root) and is_below(directory, old))
        for old in matching
    )


def is_below(path: str, directory: str) -> bool:
    """For normal absolute paths; a directory is below itself."""
    directory = os.path.normpath(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")
