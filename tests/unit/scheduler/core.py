"""The scheduler core with a clock that is moved by hand, and short words for its events."""

from dataclasses import replace
from typing import Any

from reapi.scheduler.commands import Command, FinishOperations, OfferLease, Outcome
from reapi.scheduler.events import Enqueue, Event, LeaseCompleted, PolicySet, WorkerConnected
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.model import Execution, Properties, Resources
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue
from reapi.scheduler.reasons import why_waiting

SECOND = 1_000_000
POLICY = Policy(
    reconnect_grace=10 * SECOND,
    unwatched_grace=60 * SECOND,
    unmatched_grace=30 * SECOND,
    max_attempts=3,
)
LINUX: Properties = (("OS", "linux"),)


class Core:
    """Every step checks the invariants."""

    def __init__(self, **policy: Any) -> None:
        self.queue = Queue(replace(POLICY, **policy))
        self.now = 0

    def __call__(self, event: Event, *, after: int = 0) -> list[Command]:
        self.now += after
        commands = self.queue.handle(event, self.now)
        check_invariants(self.queue)
        return commands

    def set_policy(self, **policy: Any) -> list[Command]:
        """Changes some of what the policy says."""
        return self(PolicySet(replace(self.queue.policy, **policy)))

    def execution(self, name: str) -> Execution:
        return self.queue.executions[name]

    def why(self, name: str) -> str:
        """Why it waits."""
        return why_waiting(self.queue, self.execution(name))

    def runs_on(self, name: str) -> str:
        """The worker that runs it; empty while it waits."""
        return self.execution(name).worker_id

    def complete(self, name: str) -> list[Command]:
        """The worker of an execution reports its outcome."""
        return self(self.completion(name))

    def completion(self, name: str) -> LeaseCompleted:
        """What the worker of an execution says at its end."""
        execution = self.execution(name)
        return LeaseCompleted(execution.worker_id, name, execution.epoch)


def enqueue(
    name: str,
    *,
    action: str = "",
    priority: int = 0,
    properties: Properties = (),
    resources: Resources = (),
    tenant: str = "",
    invocation: str = "",
    expected: int = 0,
    is_mergeable: bool = True,
) -> Enqueue:
    return Enqueue(
        name,
        "",
        action or f"action of {name}",
        is_mergeable,
        properties,
        priority,
        b"",
        tenant,
        invocation,
        resources,
        expected,
    )


def connect(
    worker_id: str = "w1",
    session: str = "s1",
    *,
    slots: int = 1,
    properties: Properties = (),
    held: tuple[tuple[str, int], ...] = (),
    resources: Resources = (),
    ordinal: int = -1,
) -> WorkerConnected:
    return WorkerConnected(worker_id, session, slots, properties, held, resources, ordinal)


def offers(commands: list[Command]) -> list[OfferLease]:
    return [command for command in commands if isinstance(command, OfferLease)]


def leased(commands: list[Command]) -> list[tuple[str, str]]:
    """Which execution went to which worker."""
    return [(offer.execution_id, offer.worker_id) for offer in offers(commands)]


def outcome_of(commands: list[Command]) -> Outcome:
    """The only command is the end of something that the core itself decided."""
    (finish,) = commands
    assert isinstance(finish, FinishOperations)
    assert finish.outcome is not None
    return finish.outcome
