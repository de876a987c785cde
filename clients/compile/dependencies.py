"""What a compile reads, told by its compiler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .bounded_process import run_process
from .depfile import parse_rule
from .model import Finished

_LARGEST_OUTPUT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The files that a compile reads, as the compiler names them, in its order, each once.

    `failure` is what the compiler ended with if it could not tell, or what it wrote is no rule.
    """

    paths: tuple[str, ...]
    failure: Finished | None = None


async def find_dependencies(
    argv: Sequence[str], working_directory: str, environment: Mapping[str, str]
) -> Dependencies:
    """Runs a compiler that prints a make rule (-M). Cancelling ends it.

    Raises FailedPrecondition if it cannot be run, ResourceExhausted if it prints without end.
    """
    finished = await run_process(
        argv, working_directory, environment, largest_output_bytes=_LARGEST_OUTPUT_BYTES
    )
    if finished.exit_code:
        return Dependencies((), finished)
    rule = parse_rule(finished.stdout)
    if finished.stdout and rule is None:
        return Dependencies((), finished)
    return Dependencies(tuple(dict.fromkeys(rule.prerequisites if rule else ())))


def prerequisites(content: bytes) -> tuple[str, ...] | None:
    """The files that a depfile names, in its order, each once; None if it is no make rule."""
    rule = parse_rule(content)
    return tuple(dict.fromkeys(rule.prerequisites)) if rule else None
