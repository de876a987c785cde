"""Strict placement on a fixed number of numbered workers: digest modulo N names the one owner.

Meant for a StatefulSet, whose pods keep their numbers and their caches. The words for people are
here as well, so that all of them name the same settings.
"""

import re
from collections.abc import Sequence

from reapi.core.errors import InvalidArgument

_NUMBERED_NAME = re.compile(r".*-([0-9]{1,9})", re.DOTALL)

_HOW_TO_NUMBER = (
    "Set executor.ordinal, or name the worker as a StatefulSet does, with -NUMBER at the end "
    "(executor.worker_id, by default the name of the host); numbers start from 0."
)


def owner(action_hash: str, workers: int) -> int:
    """The ordinal of the only worker that runs the action, of so many: at least one.

    `action_hash` is in hexadecimal.
    """
    return int(action_hash, 16) % workers


def ordinal_of(worker_id: str, configured: int | None) -> int:
    """The worker's place in the fleet: what its configuration says, or else its name.

    Raises InvalidArgument if neither does; the message says what to set.
    """
    if configured is not None:
        return configured
    numbered = _NUMBERED_NAME.fullmatch(worker_id)
    if numbered is None:
        raise InvalidArgument(
            f"the placement is modulo, and worker {worker_id!r} has no ordinal. {_HOW_TO_NUMBER}"
        )
    return int(numbered[1])


def check(ordinal: int, workers: int, holders: Sequence[str]) -> str | None:
    """Why a worker cannot be taken into a fleet of so many, or None if it can.

    A negative `ordinal` is none. `holders` are the ids of the other workers that have this one.
    """
    if ordinal < 0:
        return f"the placement is modulo, and this worker has no ordinal. {_HOW_TO_NUMBER}"
    if ordinal >= workers:
        return (
            f"ordinal {ordinal} is beyond the fleet: with scheduler.expected_workers = {workers}, "
            f"ordinals are 0 to {workers - 1}. Raise expected_workers, or run fewer replicas."
        )
    if holders:
        return (
            f"ordinal {ordinal} is taken by worker {', '.join(map(repr, sorted(holders)))}. "
            f"Each worker needs an ordinal of its own. {_HOW_TO_NUMBER}"
        )
    return None


def scaling_text(old: int, new: int) -> str:
    """What to tell the operator when the number of workers changes at run time."""
    return (
        f"SCALING DETECTED: expected_workers was {old} and is {new}. Queued actions go to their "
        "new owners; running ones finish where they are."
    )
