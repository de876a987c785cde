"""Make rules as gcc and clang write them: read, and written with other names to the byte."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from .model import Family

_LINE_BYTES = {Family.GCC: 72, Family.CLANG: 75}

_CONTINUED = re.compile(rb"[ \t]*\\\r?\n[ \t]*")
_WORD = re.compile(rb"(?:(?<!\\)(?:\\\\)*\\[ \t]|[^ \t\n])+")
_END_OF_TARGETS = re.compile(rb":(?=[ \t\n]|\Z)")
_ESCAPE = re.compile(rb"(\\+)([ \t#])|\$\$")
_SPECIAL = re.compile(rb"(\\*)([ \t])|([#$])")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one compile depends on.

    `targets` are as they stand in the rule, since -MT puts there what it likes; `prerequisites` are
    paths. `is_phony`: there is an empty rule for each but the first, as -MP asks for;
    `has_gaps`: with an empty line before it, as older compilers do.
    """

    targets: tuple[bytes, ...]
    prerequisites: tuple[str, ...]
    is_phony: bool = False
    has_gaps: bool = False


def parse_rule(content: bytes) -> Rule | None:
    """The rule of a depfile with nothing but that and its phony rules; None if it is not so."""
    first, _, rest = _CONTINUED.sub(b" ", content).partition(b"\n")
    end = _END_OF_TARGETS.search(first)
    if end is None:
        return None
    targets = tuple(_WORD.findall(first[: end.start()]))
    prerequisites = tuple(os.fsdecode(_plain(word)) for word in _WORD.findall(first[end.end() :]))
    return Rule(targets, prerequisites, bool(rest.strip()), rest.startswith(b"\n"))


def format_rule(rule: Rule, family: Family) -> bytes:
    """The depfile that a compiler of the family writes for the rule."""
    write = _gcc_lines if family is Family.GCC else _clang_lines
    names = [os.fsencode(path) for path in rule.prerequisites]
    written = write(rule.targets, names) + b"\n"
    if rule.is_phony:
        gap = b"\n" if rule.has_gaps else b""
        written += b"".join(gap + _escaped(name) + b":\n" for name in names[1:])
    return written


def rewrite(content: bytes, family: Family, map_path: Callable[[str], str]) -> bytes | None:
    """A depfile as it would have been if all paths were mapped before; None if that is not sure."""
    rule = parse_rule(content)
    if rule is None or format_rule(rule, family) != content:
        return None
    return format_rule(
        replace(
            rule,
            targets=tuple(_mapped_target(target, map_path) for target in rule.targets),
            prerequisites=tuple(map(map_path, rule.prerequisites)),
        ),
        family,
    )


def _mapped_target(target: bytes, map_path: Callable[[str], str]) -> bytes:
    plain = _plain(target)
    if _escaped(plain) != target:
        return os.fsencode(map_path(os.fsdecode(target)))
    return _escaped(os.fsencode(map_path(os.fsdecode(plain))))


def _plain(word: bytes) -> bytes:
    return _ESCAPE.sub(_unescaped, word)


def _unescaped(match: re.Match[bytes]) -> bytes:
    backslashes, character = match[1], match[2]
    if backslashes is None:
        return b"$"
    if character == b"#":
        return backslashes[1:] + character
    return backslashes[: len(backslashes) // 2] + character


def _escaped(name: bytes) -> bytes:
    return _SPECIAL.sub(_escape, name)


def _escape(match: re.Match[bytes]) -> bytes:
    if match[2] is not None:
        return match[1] * 2 + b"\\" + match[2]
    return b"$$" if match[3] == b"$" else b"\\#"


def _gcc_lines(targets: tuple[bytes, ...], names: list[bytes]) -> bytes:
    """A word that would end behind the limit begins a line, but the first one never does."""
    lines, column = bytearray(), 0
    for words, end in ((targets, b":"), (map(_escaped, names), b"")):
        for word in words:
            if column:
                if column + len(word) > _LINE_BYTES[Family.GCC]:
                    lines += b" \\\n"
                    column = 0
                lines += b" "
                column += 1
            lines += word
            column += len(word)
        lines += end
        column += len(end)
    return bytes(lines)


def _clang_lines(targets: tuple[bytes, ...], names: list[bytes]) -> bytes:
    """The same with room for the backslash; names count with the length they have on disk."""
    limit = _LINE_BYTES[Family.CLANG]
    lines, column = bytearray(), 0
    for target in targets:
        if column == 0:
            column = len(target)
        elif column + len(target) + 2 > limit:
            lines += b" \\\n  "
            column = len(target) + 2
        else:
            lines += b" "
            column += len(target) + 1
        lines += target
    lines += b":"
    column += 1
    for name in names:
        if column + len(name) + 3 > limit:
            lines += b" \\\n "
            column = 2
        lines += b" " + _escaped(name)
        column += len(name) + 1
    return bytes(lines)
