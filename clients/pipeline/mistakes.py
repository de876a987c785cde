"""What is wrong with a plan, and where: the errors that a person is to mend in an editor."""

from collections.abc import Iterable
from dataclasses import dataclass

from reapi.core.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake at a place of a plan file; `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.text}"


class InvalidPlan(InvalidArgument):
    """A plan that cannot be run; `mistakes` are in the order of their places."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(mistakes, key=lambda one: (one.path, one.line, one.column))
        super().__init__("\n".join(map(str, self.mistakes)))
