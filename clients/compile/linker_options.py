"""The options of GNU ld, gold and lld that a link may have, in -Wl, or -Xlinker, and be kept."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SWITCHES = _names(
    """
    ( ) E S X s x allow-multiple-definition allow-shlib-undefined as-needed Bdynamic Bstatic
    Bsymbolic Bsymbolic-functions build-id build-id=fast build-id=md5 build-id=none build-id=sha1
    build-id=tree call_shared color-diagnostics copy-dt-needed-entries demangle disable-new-dtags
    discard-all discard-locals dn dy eh-frame-hdr enable-new-dtags end-group end-lib export-dynamic
    fatal-warnings gc-sections icf=all icf=none icf=safe no-add-needed
    no-allow-shlib-undefined no-as-needed no-color-diagnostics no-copy-dt-needed-entries no-demangle
    no-eh-frame-hdr no-export-dynamic no-fatal-warnings no-gc-sections no-ld-generated-unwind-info
    no-relax no-rosegment no-threads no-undefined no-undefined-version no-warn-mismatch
    no-whole-archive no-warnings non_shared noexecstack pic-executable pie no-pie pop-state
    push-state relax rosegment sort-common start-group start-lib static strip-all strip-debug
    threads undefined-version warn-common warn-once warn-shared-textrel warn-unresolved-symbols
    whole-archive
    """
)

_WITH_VALUE = _names(
    """
    compress-debug-sections defsym dynamic-linker e entry exclude-libs export-dynamic-symbol fini h
    hash-style I init m pack-dyn-relocs soname sort-section spare-dynamic-tags thread-count threads
    u undefined unresolved-symbols wrap z
    """
)
"""Their value is a name or a number, or a path that nobody opens."""

_FILES = frozenset({"version-script", "dynamic-list", "retain-symbols-file"})
_DIRECTORIES = frozenset({"rpath", "rpath-link"})
_JOINED = re.compile(r"-z[\w.=-]+|-(?:melf|O)[\w.]*|-u\w+")
_LIBRARY = re.compile(r"-l(?P<name>[^/]+)|--library=(?P<long>[^/]+)")


@dataclass(slots=True)
class LinkerOptions:
    """What is told to a linker: it reads `files`, and looks for `libraries`, by the names of files.

    `unknown` is the first option that is not known here: it may name or write any file.
    """

    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    unknown: str | None = None


def linker_words(words: Iterable[str]) -> Iterator[str]:
    """Those that a driver's arguments have for its linker."""
    rest = iter(words)
    for word in rest:
        if word == "-Xlinker":
            yield next(rest, "")
        elif word.startswith("-Wl,"):
            yield from word.removeprefix("-Wl,").split(",")


def linker_options(words: Iterable[str]) -> LinkerOptions:
    """What these words of a linker mean."""
    found = LinkerOptions()
    rest = iter(words)
    for word in rest:
        library = _LIBRARY.fullmatch(word)
        if library is not None:
            found.libraries += library_files(library["name"] or library["long"])
            continue
        name, equals, value = word.lstrip("-").partition("=")
        is_option = word.startswith("-")
        if is_option and (f"{name}{equals}{value}" in _SWITCHES or _JOINED.fullmatch(word)):
            continue
        if not is_option or name not in _WITH_VALUE | _FILES | _DIRECTORIES:
            found.unknown = word
            return found
        value = value if equals else next(rest, "")
        if name in _FILES:
            found.files.append(value)
        elif name in _DIRECTORIES:
            found.directories += value.split(":")
    return found


def library_files(name: str) -> list[str]:
    """The names of the files that -lNAME may mean."""
    return [name[1:]] if name.startswith(":") else [f"lib{name}.so", f"lib{name}.a"]
