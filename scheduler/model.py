"""What the scheduler core knows: executions, the operations that watch them, workers.

Plain state without behaviour, except for the table of legal stage transitions. Times are integers
in microseconds, and 0 means `not set`.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accounts import Invocation
    from .lane import Lane
    from .pool import Pool


Properties = tuple[tuple[str, str], ...]
"""Platform properties (name, value), sorted; a name may occur more than once."""

Resources = tuple[tuple[str, int], ...]
"""Amounts (name, amount) that a worker has or an action books, sorted by name, each name once.

`cpu` is in thousandths of a core, `memory` in bytes, every other name counts tokens.
"""

LeaseKey = tuple[str, int]
"""(execution_id, epoch): one attempt at one execution. No two leases ever share an epoch."""


class Stage(IntEnum):
    """Where an execution is; the numbers are those of ExecutionStage.Value."""

    QUEUED = 2
    EXECUTING = 3
    COMPLETED = 4


class Trigger(Enum):
    """Why a stage changes."""

    # An Enum's own hash is a Python function, which the hottest path of the core would call.
    __hash__ = object.__hash__

    LEASE = "a worker is given the execution"
    LOSE = "the worker is gone or gave it back"
    COMPLETE = "the worker reported the outcome"
    GIVE_UP = "too many workers were lost"
    REJECT = "no worker can ever run it"
    CANCEL = "somebody asked for its end"
    ABANDON = "nobody watched it for too long"


TRANSITIONS: dict[tuple[Stage, Trigger], Stage] = {
    (Stage.QUEUED, Trigger.LEASE): Stage.EXECUTING,
    (Stage.QUEUED, Trigger.REJECT): Stage.COMPLETED,
    (Stage.QUEUED, Trigger.CANCEL): Stage.COMPLETED,
    (Stage.QUEUED, Trigger.ABANDON): Stage.COMPLETED,
    (Stage.EXECUTING, Trigger.LOSE): Stage.QUEUED,
    (Stage.EXECUTING, Trigger.COMPLETE): Stage.COMPLETED,
    (Stage.EXECUTING, Trigger.GIVE_UP): Stage.COMPLETED,
    (Stage.EXECUTING, Trigger.CANCEL): Stage.COMPLETED,
    (Stage.EXECUTING, Trigger.ABANDON): Stage.COMPLETED,
}
"""Every legal change; all others are bugs."""


class Why(Enum):
    """Why a worker was chosen for an execution."""

    PREFERRED = "it is the preferred worker of this action"
    SPILL = "better placed workers have no room"
    TURN = "it had room when the turn of this action came"
    STOLEN = "it was idle while the preferred worker was busy"
    RESERVED = "it was kept free, since the action had waited too long"
    OWNER = "it owns this action: digest modulo the number of workers"
    HEDGE = "the first worker takes much longer than expected"


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision for a worker. `rank` is its place in the order of preference, 0 if not known."""

    why: Why
    rank: int = 0
    preferred: str = ""


_NOT_RECORDED = {"is_recorded": False}
"""Metadata of a field that is no state but an index of it, which is built anew after a restart."""


class IllegalTransition(Exception):
    """A bug in the core: the pair is not in the table. The execution is left unchanged."""


@dataclass(slots=True)
class Operation:
    """One caller's name for an execution. Merged callers have one operation each (EX12)."""

    name: str
    execution_id: str
    waiters: int


@dataclass(slots=True)
class Execution:
    """One run of one action, shared by all operations merged into it.

    `execution_id` is the name of its first operation. `lease_template` is opaque to the core: what
    the shell needs to make a lease. `epoch` and `worker_id` are set exactly while it is EXECUTING;
    `hedge_epoch` and `hedge_worker_id` are a second lease, while there is one. What waits in vain
    for its preferred worker, `held_for`, until `held_until` is in no lane's order. The less
    `urgency` is, the sooner its turn comes among the executions of its invocation.
    """

    execution_id: str
    instance_name: str
    action: str
    is_mergeable: bool
    properties: Properties
    priority: int
    sequence: int
    lease_template: bytes
    stage: Stage = Stage.QUEUED
    epoch: int = 0
    worker_id: str = ""
    losses: int = 0
    waiters: int = 0
    abandon_at: int = 0
    operations: list[str] = field(default_factory=list)
    tenant: str = ""
    invocation: str = ""
    resources: Resources = ()
    expected: int = 0
    enqueued_at: int = 0
    urgency: int = 0
    leased_at: int = 0
    held_until: int = 0
    held_for: str = ""
    hedge_at: int = 0
    hedge_epoch: int = 0
    hedge_worker_id: str = ""
    lost_on: list[str] = field(default_factory=list)
    account: "Invocation" = field(init=False, compare=False, repr=False, metadata=_NOT_RECORDED)
    lane: "Lane" = field(init=False, compare=False, repr=False, metadata=_NOT_RECORDED)

    def advance(self, trigger: Trigger) -> None:
        """Moves to the next stage by the table; raises IllegalTransition and changes nothing."""
        try:
            self.stage = TRANSITIONS[self.stage, trigger]
        except KeyError:
            raise IllegalTransition(
                f"{self.execution_id} is {self.stage.name}: it cannot be that {trigger.value}"
            ) from None


@dataclass(slots=True)
class Worker:
    """A worker that is connected, or away for less than the grace time.

    `leases` maps epoch to execution_id. A lease whose execution has gone, or has moved on to a
    higher epoch, is revoked: it only occupies its slot until the worker reports its end. `booked`
    maps the epochs of leases that take more than a slot to what they take. A worker that is
    `reserved_for` an execution gets no other lease. `free` is what its leases leave.
    """

    worker_id: str
    session_id: str
    slots: int
    properties: Properties
    is_connected: bool = True
    is_draining: bool = False
    lost_at: int = 0
    leases: dict[int, str] = field(default_factory=dict)
    resources: Resources = ()
    ordinal: int = -1
    is_cordoned: bool = False
    booked: dict[int, Resources] = field(default_factory=dict)
    reserved_for: str = ""
    free: dict[str, int] = field(init=False, compare=False, repr=False, metadata=_NOT_RECORDED)
    pool: "Pool" = field(init=False, compare=False, repr=False, metadata=_NOT_RECORDED)

    @property
    def takes_leases(self) -> bool:
        return self.is_connected and not self.is_draining and not self.is_cordoned
