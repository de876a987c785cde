"""Response files: `@file` among a compiler's arguments stands for the arguments in the file."""

import os
import stat
from collections.abc import Iterable, Iterator

from .model import Local

MAX_DEPTH = 16
MAX_BYTES = 8 << 20
"""Of all response files of a call together."""
MAX_ARGUMENTS = 200_000

_SPACE = frozenset(" \t\n\r\v\f")
_ESCAPED_ALIKE = frozenset('\\"$`')
"""What a backslash in double quotes means the same before for all releases of GCC and clang."""


class _NotUnderstood(Exception):
    """Why the call has to stay as it is."""


def expand(arguments: Iterable[str], working_directory: str) -> tuple[str, ...] | Local:
    """The arguments with the response files replaced by what is in them, as gcc and clang do.

    A file that is not there is an argument like any other. Local: the files are too many, too
    large or not plain files, or releases of the compilers disagree about what they say. Reading a
    pipe would take its bytes from the compiler, so it is not done.
    """
    arguments = tuple(arguments)
    if not any(argument.startswith("@") for argument in arguments):
        return arguments
    try:
        return tuple(_Expansion(working_directory).expand(arguments, depth=0))
    except _NotUnderstood as reason:
        return Local(str(reason))


class _Expansion:
    """The expansion of one call; counts over all its files."""

    def __init__(self, working_directory: str) -> None:
        self._working_directory = working_directory
        self._bytes = 0
        self._arguments = 0

    def expand(self, arguments: Iterable[str], *, depth: int) -> Iterator[str]:
        for argument in arguments:
            text = self._read(argument) if argument.startswith("@") else None
            if text is not None:
                if depth == MAX_DEPTH:
                    raise _NotUnderstood("its response files contain each other")
                yield from self.expand(split(text), depth=depth + 1)
                continue
            self._arguments += 1
            if self._arguments > MAX_ARGUMENTS:
                raise _NotUnderstood("its response files hold too many arguments")
            yield argument

    def _read(self, argument: str) -> str | None:
        """What the file holds, None if there is none."""
        if argument == "@":
            return None
        path = os.path.join(self._working_directory, argument[1:])
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _NotUnderstood(f"{argument} is not a plain file")
            with open(file, "rb", closefd=False) as stream:
                content = stream.read(MAX_BYTES - self._bytes + 1)
        finally:
            os.close(file)
        self._bytes += len(content)
        if self._bytes > MAX_BYTES:
            raise _NotUnderstood("its response files are too large")
        if b"\0" in content or content.startswith((b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")):
            raise _NotUnderstood(f"{argument} is not plain text")
        return os.fsdecode(content)


def split(text: str) -> Iterator[str]:
    """The arguments in a response file: white space parts them, quotes and backslashes protect it.

    GCC 15 took up the shell's rules for a backslash inside quotes, which the others do not have;
    where the two differ there is no answer.
    """
    word: list[str] = []
    is_word = False
    quote = ""
    characters = iter(text)
    for character in characters:
        if not quote and character in _SPACE:
            if is_word:
                yield "".join(word)
            word, is_word = [], False
            continue
        is_word = True
        if character == "\\":
            word.append(_escaped(characters, quote))
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word.append(character)
    if quote:
        raise _NotUnderstood("a response file has a quote without its end")
    if is_word:
        yield "".join(word)


def _escaped(characters: Iterator[str], quote: str) -> str:
    character = next(characters, "")
    if (
        character in ("", "\n")
        or quote == "'"
        or (quote == '"' and character not in _ESCAPED_ALIKE)
    ):
        raise _NotUnderstood("compilers disagree about a backslash in a response file")
    return character
