"""What the bytes of a source or header say of the files and circumstances it depends on.

Nothing is preprocessed: what stands in a comment, a string or a branch not taken counts as well, so
that the answer can only be too wide. Bytes are taken as ASCII with anything above, as compilers do
unless told otherwise (-finput-charset).
"""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

# A pattern that begins with what it must have is found several times as quickly as one of
# alternatives, and than `in` finds a word: hence patterns of their own for what could be one.

_NAME = rb'(?:"([^"\n]{1,4096}+)"|<([^<>\n]{1,4096}+)>)'
_INCLUDE = re.compile(
    rb"#[ \t\f\v\0]*+(?:(?:include(?:_next)?|import|embed)\b[ \t\f\v\0]*+%b?|(?=/\*))" % _NAME
)
_BEGINS_OPERAND = re.compile(rb'[\w$\\<"/\x80-\xff]')
"""What a macro's name, a comment or a name that was not understood begin with."""

_TRIGRAPHS = ((re.compile(rb"\?\?="), rb"#"), (re.compile(rb"\?\?/"), rb"\\"))
_DIGRAPH = re.compile(rb"%:")
_SPLICE = re.compile(rb"\\[ \t\f\v\0]*+(?:\r\n?|\n)")
_ODD_SPLICE = re.compile(rb"\?\?/[ \t]*[\r\n]")
_ODD_LINE_END = re.compile(rb"\r(?!\n)")
"""Compilers and modes differ in what these are."""

_CHECK_WORDS = (re.compile(rb"has_(?:include|embed)"), re.compile(rb"HAS_(?:INCLUDE|EMBED)"))
_CHECK = re.compile(
    rb"(?:has|HAS)_(?:include|INCLUDE|embed|EMBED)\w*+[ \t\f\v\0]*+(\([ \t\f\v\0]*+%b?)?" % _NAME
)
_DEFINED_WORD = re.compile(
    rb"(?:\bdefined[\s(]*|#\s*(?:el)?ifn?def\s+|#\s*(?:define|undef)\s+)\w*\Z"
)
_DEFINED_CHECK = re.compile(rb"#\s*define\s+\w*(?:has|HAS)_(?:include|INCLUDE|embed|EMBED)")
_ENDS_BRANCH = re.compile(rb"#\s*(?:endif|else|error|warning)\b")
_LARGEST_LINE_BYTES = 4096
"""What stands farther in front of a word is not looked at."""

_TELLING = re.compile(
    rb"__(?:(?:DATE__|TIME__|TIMESTAMP__)"
    rb"|(FILE__|BASE_FILE__|builtin_FILE"
    rb"|PRETTY_FUNCTION__))"  # clang says in it where a lambda or a nameless type is written
)
_OTHER_FILE_IS_OLDER = re.compile(rb"GCC\s+dependency\b")
_ASSEMBLER_FILE = re.compile(rb'\.(?:include|INCLUDE)[ \t]+\\?"')


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What may follow from one file's content.

    `quoted` and `angled` are the names that it includes, embeds or asks for; each name once.
    `has_computed_include`: more names may follow from macros; the files found by them are known to
    the compiler only. `has_computed_check`: the same of __has_include, where a file that is *not*
    there matters and nobody tells: such a unit cannot be looked up without a compiler.
    `has_time`: the date, the time or how old a file is may be part of the result.
    `has_file_name`: names of source files may be. `has_incbin`: the assembler may read files
    that the preprocessor does not know (.incbin, .include).
    """

    quoted: tuple[str, ...] = ()
    angled: tuple[str, ...] = ()
    has_computed_include: bool = False
    has_computed_check: bool = False
    has_time: bool = False
    has_file_name: bool = False
    has_incbin: bool = False


UNKNOWN = SourceFacts((), (), True, True, True, True, True)
"""All may be the case: for a file that is too large to look into."""


def scan_source(content: bytes) -> SourceFacts:
    """The facts of a file of this content, whatever language it is in."""
    text = _in_one_spelling(content)
    has_odd_lines = any(odd.search(content) for odd in (_ODD_SPLICE, _ODD_LINE_END))
    telling = {match.lastindex for match in _TELLING.finditer(text)}
    includes = list(_INCLUDE.finditer(text))
    checks: list[re.Match[bytes]] = []
    if any(words.search(text) for words in _CHECK_WORDS):
        checks = list(_CHECK.finditer(text))
    quoted = _names(includes, 1) | _names(checks, 2)
    angled = _names(includes, 2) | _names(checks, 3)
    return SourceFacts(
        tuple(sorted(quoted)),
        tuple(sorted(angled)),
        has_odd_lines
        or any(_is_computed_include(text, match) for match in includes)
        or any("\\" in name or not name.isprintable() for name in quoted | angled),
        any(has_odd_lines or _is_computed_check(text, match) for match in checks),
        None in telling or _OTHER_FILE_IS_OLDER.search(text) is not None,
        1 in telling or b"source_location" in text,
        b"incbin" in text or b"INCBIN" in text or _ASSEMBLER_FILE.search(text) is not None,
    )


def _in_one_spelling(content: bytes) -> bytes:
    """Without trigraphs, digraphs and continued lines.

    Names stay what they are where a compiler would not take them as such.
    """
    for trigraph, character in _TRIGRAPHS:
        content = trigraph.sub(character, content)
    return _SPLICE.sub(b"", _DIGRAPH.sub(b"#", content))


def _names(matches: Iterable[re.Match[bytes]], group: int) -> set[str]:
    return {sys.intern(os.fsdecode(match[group])) for match in matches if match[group]}


def _is_computed_include(text: bytes, match: re.Match[bytes]) -> bool:
    """Whether it has no name and is more than a word of a comment."""
    if match[1] or match[2] or not _BEGINS_OPERAND.match(text, match.end()):
        return False
    before = _line_before(text, match)
    return before is None or not before or before.rstrip().endswith(b"*/")


def _is_computed_check(text: bytes, match: re.Match[bytes]) -> bool:
    """Whether it may ask for a name that is not written there.

    A macro named like the operator may pass its parameter on, since all of its uses are looked at.
    """
    if match[2] or match[3]:
        return False
    before = _line_before(text, match)
    if before is None:
        return True
    if _DEFINED_WORD.search(before) or _DEFINED_CHECK.search(before):
        return False
    if match[1] and before.endswith(b"__"):
        return True
    return b"#" in before and not _ENDS_BRANCH.match(before)


def _line_before(text: bytes, match: re.Match[bytes]) -> bytes | None:
    """What is in front of the match on its line; None when that is very much."""
    start = match.start()
    earliest = max(0, start - _LARGEST_LINE_BYTES)
    line = max(text.rfind(b"\n", earliest, start), text.rfind(b"\r", earliest, start)) + 1
    return None if line == 0 < earliest else text[line:start].lstrip()
