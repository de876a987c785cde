"""Amounts of resources: whether they fit, and books of what is free, exact to the last unit."""

from .model import Resources


def fits(needs: Resources, free: dict[str, int]) -> bool:
    """Whether `free` has all that is needed; what it does not name it has none of."""
    for name, amount in needs:  # noqa: SIM110 - a generator costs more than the comparisons
        if free.get(name, 0) < amount:
            return False
    return True


def take(needs: Resources, free: dict[str, int]) -> None:
    """Books what is needed, whether it fits or not: a book may owe after totals have changed."""
    for name, amount in needs:
        free[name] = free.get(name, 0) - amount


def give_back(needs: Resources, free: dict[str, int]) -> None:
    """Undoes `take`."""
    for name, amount in needs:
        free[name] = free.get(name, 0) + amount


def split(resources: Resources, shared: frozenset[str]) -> tuple[Resources, Resources]:
    """What is taken from the worker itself, and what from the tokens that the fleet shares."""
    return (
        tuple(one for one in resources if one[0] not in shared),
        tuple(one for one in resources if one[0] in shared),
    )
