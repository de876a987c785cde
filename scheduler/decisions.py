"""What the core decided on an event, in the form in which the journal keeps it for replays.

The commands follow from state, event and time, so recovery needs nothing of this. A replay compares
what a program decides with what the same one, or an earlier one, decided in earnest.
"""

from collections.abc import Sequence
from typing import Any

from .commands import Command, FinishOperations, OfferLease, RefuseWorker, RevokeLease

Decision = list[Any]
"""A kind and what it is about, in values of JSON: who runs what, what has ended and how."""


def decisions_of(commands: Sequence[Command]) -> list[Decision]:
    """Those of the commands that decide something; the others tell what follows."""
    decisions: list[Decision] = []
    for command in commands:
        if type(command) is OfferLease:
            decisions.append(["lease", command.worker_id, command.execution_id, command.epoch])
        elif type(command) is FinishOperations:
            code = command.outcome.code if command.outcome is not None else 0
            decisions.append(["finish", code, *command.operation_names])
        elif type(command) is RevokeLease:
            decisions.append(["revoke", command.worker_id, command.execution_id, command.epoch])
        elif type(command) is RefuseWorker:
            decisions.append(["refuse", command.worker_id])
    return decisions
