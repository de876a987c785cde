"""What the scheduler core asks its shell to do, in this order."""

from dataclasses import dataclass

from .model import Choice, LeaseKey, Stage


@dataclass(frozen=True, slots=True)
class WelcomeWorker:
    """Answer a new stream; the `revoked` leases are to be killed silently."""

    worker_id: str
    revoked: tuple[LeaseKey, ...]


@dataclass(frozen=True, slots=True)
class RefuseWorker:
    """End the stream of a worker that cannot be taken into the fleet; say why."""

    worker_id: str
    session_id: str
    message: str


@dataclass(frozen=True, slots=True)
class OfferLease:
    """Send the worker a lease."""

    worker_id: str
    execution_id: str
    epoch: int
    choice: Choice


@dataclass(frozen=True, slots=True)
class RevokeLease:
    """Have the worker kill the lease; it keeps its slot until it says that it is done."""

    worker_id: str
    execution_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class TellWaiters:
    """These operations are in this stage now."""

    operation_names: tuple[str, ...]
    stage: Stage


@dataclass(frozen=True, slots=True)
class Violation:
    """One unmet precondition, as in google.rpc.PreconditionFailure."""

    type: str
    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """An end that the core itself decided: a google.rpc code that is not OK."""

    code: int
    message: str
    violations: tuple[Violation, ...] = ()
    retry_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class FinishOperations:
    """These operations have ended; the core has forgotten them.

    Without an `outcome` the response is the one that came with the LeaseCompleted event.
    """

    operation_names: tuple[str, ...]
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Say this to the operator, in the log: it is rare and matters."""

    message: str


Command = (
    WelcomeWorker
    | RefuseWorker
    | OfferLease
    | RevokeLease
    | TellWaiters
    | FinishOperations
    | Notice
)
