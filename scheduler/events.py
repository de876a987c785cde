"""Everything that can happen to the scheduler core. Events are journaled: fields may be added at
the end with a default, never renamed or removed (docs/decisions on the journal format)."""

from dataclasses import dataclass

from .model import LeaseKey, Properties, Resources
from .policy import Policy


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A client wants `action` run and watches it under the new `operation_name`.

    A mergeable one joins an equal execution in flight. `action` names the digest, function
    included. `expected` is the time in microseconds that history says it takes, 0 for unknown.
    """

    operation_name: str
    instance_name: str
    action: str
    is_mergeable: bool
    properties: Properties
    priority: int
    lease_template: bytes
    tenant: str = ""
    invocation: str = ""
    resources: Resources = ()
    expected: int = 0


@dataclass(frozen=True, slots=True)
class WaiterJoined:
    """One more stream watches the operation."""

    operation_name: str


@dataclass(frozen=True, slots=True)
class WaiterLeft:
    """One stream that watched the operation has ended."""

    operation_name: str


@dataclass(frozen=True, slots=True)
class CancelOperation:
    """The owner of the operation no longer wants it."""

    operation_name: str


@dataclass(frozen=True, slots=True)
class WorkerConnected:
    """A stream was opened. `held` are the leases that the worker says it still has.

    `ordinal` is its place in a numbered fleet, -1 for none.
    """

    worker_id: str
    session_id: str
    slots: int
    properties: Properties
    held: tuple[LeaseKey, ...]
    resources: Resources = ()
    ordinal: int = -1


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """The worker's stream has ended or fallen silent."""

    worker_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """No new leases for this worker."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class LeaseCompleted:
    """The worker has reported the outcome, and the shell has it at hand."""

    worker_id: str
    execution_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """The worker ended the lease without an outcome; somebody else must run the action."""

    worker_id: str
    execution_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Some deadline of the core is due."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process has started over from its journal: all streams are gone."""


@dataclass(frozen=True, slots=True)
class CordonWorkers:
    """Workers whose id matches the pattern, now and later, get no new leases, or do again.

    The pattern is a shell's: `*`, `?`, `[...]`.
    """

    pattern: str
    is_cordoned: bool


@dataclass(frozen=True, slots=True)
class PolicySet:
    """From now on decisions follow this policy."""

    policy: Policy


Event = (
    Enqueue
    | WaiterJoined
    | WaiterLeft
    | CancelOperation
    | WorkerConnected
    | WorkerDisconnected
    | DrainWorker
    | LeaseCompleted
    | LeaseReturned
    | TimePassed
    | Restarted
    | CordonWorkers
    | PolicySet
)
