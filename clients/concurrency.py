"""Runs many calls at once, but not too many."""

from asyncio import TaskGroup
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


async def map_bounded(
    call: Callable[[Item], Awaitable[T]], items: Iterable[Item], *, at_once: int
) -> list[T]:
    """`call` of each item, in the order of the items, `at_once` of them running at a time.

    The first error cancels the others and is raised itself, not in a group.
    """
    todo = list(items)
    if len(todo) == 1:
        return [await call(todo[0])]
    results: dict[int, T] = {}
    remaining = iter(enumerate(todo))

    async def work() -> None:
        for index, item in remaining:
            results[index] = await call(item)

    try:
        async with TaskGroup() as group:
            for _ in range(min(at_once, len(todo))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [results[index] for index in range(len(todo))]
