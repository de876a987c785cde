"""Exact platform matching: what an action asks for, a worker must offer, name and value alike.

Names and values are compared as they are (EX20). A name that is asked for twice must be offered
with both values. An action that asks for nothing runs anywhere.
"""

from collections.abc import Collection, Sequence

from google.rpc import code_pb2

from .commands import Outcome, Violation
from .model import Properties

_MOST_SHOWN = 20


def matches(required: Properties, offered: Collection[tuple[str, str]]) -> bool:
    """Whether every required property is among the offered ones."""
    return all(wanted in offered for wanted in required)


def no_worker_fits(required: Properties, offers: Sequence[Properties]) -> Outcome:
    """Why none of `offers`, the distinct platforms of the fleet, can run the action.

    Names each property that the nearest workers lack, what the fleet offers instead, and who the
    nearest workers are.
    """
    nearest = min(offers, key=lambda offer: (len(_unmet(required, offer)), offer))
    violations = tuple(
        Violation("PLATFORM", f"{name}={value}", _instead(name, offers))
        for name, value in _unmet(required, nearest)[:_MOST_SHOWN]
    )
    unmet = "; ".join(f"{one.subject} ({one.description})" for one in violations)
    return Outcome(
        code_pb2.FAILED_PRECONDITION,
        f"no worker can run this action, for want of {unmet}. "
        f"The nearest workers offer {_shown(nearest)}. "
        "Change the platform properties of the action, or start a worker that offers them.",
        violations,
    )


def _unmet(required: Properties, offer: Properties) -> list[tuple[str, str]]:
    return [wanted for wanted in required if wanted not in offer]


def _instead(name: str, offers: Sequence[Properties]) -> str:
    values = sorted({value for offer in offers for other, value in offer if other == name})
    if not values:
        return f"no worker offers any {name}"
    return f"the fleet offers {name}=" + "|".join(values[:_MOST_SHOWN])


def _shown(properties: Properties) -> str:
    shown = [f"{name}={value}" for name, value in properties[:_MOST_SHOWN]]
    return ", ".join(shown) or "no properties"
