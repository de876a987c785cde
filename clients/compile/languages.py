"""The language of a source: by its suffix or by -x, as the compilers' drivers decide it."""

from enum import StrEnum

from .model import Family

_OF_SUFFIX = {
    "c": "c",
    "i": "cpp-output",
    "m": "objective-c",
    "mi": "objective-c-cpp-output",
    "mm": "objective-c++",
    "M": "objective-c++",
    "mii": "objective-c++-cpp-output",
    "cc": "c++",
    "cp": "c++",
    "cxx": "c++",
    "cpp": "c++",
    "CPP": "c++",
    "c++": "c++",
    "C": "c++",
    "ii": "c++-cpp-output",
    "s": "assembler",
    "S": "assembler-with-cpp",
}
_OF_SUFFIX_IN_GCC = {"sx": "assembler-with-cpp"}

_HEADER_SUFFIXES = ("h", "hh", "H", "hp", "hxx", "hpp", "HPP", "h++", "tcc")
_MODULE_SUFFIXES = ("cppm", "ixx", "ccm", "cxxm", "c++m", "mpp", "mxx", "pcm")

PREPROCESSED = {
    "c": "cpp-output",
    "c++": "c++-cpp-output",
    "objective-c": "objective-c-cpp-output",
    "objective-c++": "objective-c++-cpp-output",
    "assembler-with-cpp": "assembler",
}
"""What -x calls a source of a language once it is preprocessed."""

_KNOWN = frozenset(PREPROCESSED) | frozenset(PREPROCESSED.values())

_IN_CPLUSPLUS = {"c": "c++", "cpp-output": "c++-cpp-output"}
"""g++ and clang++ take C for C++, unless -x says that it is C."""


class Unsuitable(StrEnum):
    """Why there is no language that can be compiled elsewhere."""

    HEADER = "it makes a precompiled header"
    MODULE = "C++20 modules are compiled here"
    UNKNOWN = "the language of its source is not known"


def language_of(
    source: str, explicit: str | None, family: Family, *, is_cplusplus: bool
) -> str | Unsuitable:
    """`explicit` is the -x before the source, if there is one."""
    if explicit is not None:
        return explicit if explicit in _KNOWN else _unsuitable(explicit)
    suffix = source.rpartition("/")[2].rpartition(".")[2]
    if suffix in _HEADER_SUFFIXES:
        return Unsuitable.HEADER
    if suffix in _MODULE_SUFFIXES:
        return Unsuitable.MODULE
    language = _OF_SUFFIX.get(suffix)
    if language is None and family is Family.GCC:
        language = _OF_SUFFIX_IN_GCC.get(suffix)
    if language is None or "." not in source.rpartition("/")[2]:
        return Unsuitable.UNKNOWN
    return _IN_CPLUSPLUS.get(language, language) if is_cplusplus else language


def _unsuitable(explicit: str) -> Unsuitable:
    if explicit.endswith("-module"):
        return Unsuitable.MODULE
    return Unsuitable.HEADER if "header" in explicit else Unsuitable.UNKNOWN
