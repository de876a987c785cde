"""A command line as the options in it, each with its value."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .model import Family, Word
from .options import LONGEST, TABLES, Meaning, Option, Shape
from .switches import is_harmless_switch


@dataclass(frozen=True, slots=True)
class Argument:
    """An option as it was given, with its value; `words` are its spelling."""

    option: Option
    value: str
    words: tuple[str, ...]

    def with_path(self, path: str, after: str = "") -> list[Word]:
        """The same words; the value is a path and what is after it."""
        if len(self.words) == 2:
            return [Word(self.words[0]), Word("", path, after)]
        return [Word(self.option.name, path, after)]

    def plain(self) -> list[Word]:
        """The same words; no path is in them."""
        return [Word(word) for word in self.words]


_UNKNOWN = Option("", Shape.NONE, Meaning.UNKNOWN)
_INPUT_FILE = Option("", Shape.NONE, Meaning.INPUT_FILE)
_SWITCH = Option("-f", Shape.NONE, Meaning.HARMLESS)


def read(arguments: Iterable[str], family: Family) -> list[Argument]:
    """What the arguments are, in order; one that lacks its value is unknown."""
    result = []
    rest = iter(arguments)
    for word in rest:
        option = _option_of(word, family)
        value = word if option.meaning is Meaning.INPUT_FILE else word[len(option.name) :]
        words: tuple[str, ...] = (word,)
        if option.shape is Shape.SEPARATE or (option.shape is Shape.EITHER and not value):
            following = next(rest, None)
            if following is None:
                option = _UNKNOWN
            else:
                value, words = following, (word, following)
        result.append(Argument(option, value, words))
    return result


@lru_cache(maxsize=4096)
def _option_of(word: str, family: Family) -> Option:
    if not word.startswith("-") or word == "-":
        return _INPUT_FILE
    table = TABLES[family]
    exact = table.get(word)
    if exact is not None:
        return exact
    for length in range(min(len(word) - 1, LONGEST), 1, -1):
        option = table.get(word[:length])
        if option is not None and option.shape in (Shape.JOINED, Shape.EITHER):
            return option
    return _SWITCH if word.startswith("-f") and is_harmless_switch(word) else _UNKNOWN
