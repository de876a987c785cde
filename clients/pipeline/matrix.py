"""The jobs that a matrix stands for, and the values of one in texts."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

Matrix = Mapping[str, Sequence[str]]
"""Values by axis."""

_REFERENCE = re.compile(r"\$\{matrix\.([^{}]{0,200})\}")


def count_of(matrix: Matrix) -> int:
    """How many jobs it stands for, without making them."""
    return math.prod(map(len, matrix.values()))


def combinations(matrix: Matrix) -> Iterator[dict[str, str]]:
    """The values of each job, in the order of the plan; one without any if there is no axis."""
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))


def references(text: str) -> list[str]:
    """The axes that a text names."""
    return _REFERENCE.findall(text)


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of a job; all axes that it names are known."""
    return _REFERENCE.sub(lambda match: values[match[1]], text)
