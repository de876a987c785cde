"""Exact platform matching: what an action asks for, a worker must offer, name and value alike.

Names and values are compared as they are (EX20). A name that is asked for twice must be offered
with both values. An action that asks for nothing runs anywhere. Resources are amounts: the worker
as a whole, when idle, must have as much.
"""

from collections.abc import Collection, Sequence

from google.rpc import code_pb2

from .commands import Outcome, Violation
from .model import Properties, Resources

_MOST_SHOWN = 20

Offer = tuple[Properties, Resources]
"""What the workers of one kind offer."""


def matches(required: Properties, offered: Collection[tuple[str, str]]) -> bool:
    """Whether every required property is among the offered ones."""
    return not required or all(wanted in offered for wanted in required)


def no_worker_fits(
    required: Properties, resources: Resources, offers: Sequence[Offer], shared: Resources = ()
) -> Outcome:
    """Why none of `offers`, the different ones of the fleet, can run the action.

    Names each property and resource that the nearest queue lacks, what the fleet offers instead,
    and what the nearest queue is. `shared` are resources of the whole fleet.
    """
    nearest = min(
        offers, key=lambda offer: (len(_unmet(required, resources, offer, shared)), offer)
    )
    violations = tuple(
        Violation("PLATFORM", subject, _instead(name, is_resource, offers, shared))
        for name, is_resource, subject in _unmet(required, resources, nearest, shared)[:_MOST_SHOWN]
    )
    unmet = "; ".join(f"{one.subject} ({one.description})" for one in violations)
    return Outcome(
        code_pb2.FAILED_PRECONDITION,
        f"no worker can run this action, for want of {unmet}. "
        f"The nearest queue is that of workers that offer {shown(*nearest)}. "
        "Change the platform properties of the action, or start a worker that offers them.",
        violations,
    )


def shown(properties: Properties, resources: Resources = ()) -> str:
    """An offer or a requirement in words."""
    words = [f"{name}={value}" for name, value in properties]
    words += [f"{_RESOURCE}{name}={amount(name, value)}" for name, value in resources]
    return ", ".join(words[:_MOST_SHOWN]) or "no properties"


_RESOURCE = "resource."


def amount(name: str, value: int) -> str:
    """As it would be written in a property."""
    if name == "cpu":
        return f"{value // 1000}" if value % 1000 == 0 else f"{value}m"
    if name == "memory":
        for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
    return str(value)


def _unmet(
    required: Properties, resources: Resources, offer: Offer, shared: Resources
) -> list[tuple[str, bool, str]]:
    """What the offer lacks: its name, whether it is a resource, and how to write it."""
    properties, totals = offer[0], dict(offer[1] + shared)
    return [
        (name, False, f"{name}={value}")
        for name, value in required
        if (name, value) not in properties
    ] + [
        (name, True, f"{_RESOURCE}{name}={amount(name, value)}")
        for name, value in resources
        if value > totals.get(name, 0)
    ]


def _instead(name: str, is_resource: bool, offers: Sequence[Offer], shared: Resources) -> str:
    if is_resource:
        rows = [*(row for _, totals in offers for row in totals), *shared]
        most = max((value for other, value in rows if other == name), default=0)
        if not most:
            return f"no worker has any {name}"
        return f"the most that the fleet has in one place is {amount(name, most)}"
    values = sorted({value for offer, _ in offers for other, value in offer if other == name})
    if not values:
        return f"no worker offers any {name}"
    return f"the fleet offers {name}=" + "|".join(values[:_MOST_SHOWN])
