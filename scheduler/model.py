"""What the scheduler core knows: executions, the operations that watch them, workers.

Plain state without behaviour, except for the table of legal stage transitions. Times are integers
in microseconds, and 0 means `not set`.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum

Properties = tuple[tuple[str, str], ...]
"""Platform properties (name, value), sorted; a name may occur more than once."""

LeaseKey = tuple[str, int]
"""(execution_id, epoch): one attempt at one execution. No two leases ever share an epoch."""


class Stage(IntEnum):
    """Where an execution is; the numbers are those of ExecutionStage.Value."""

    QUEUED = 2
    EXECUTING = 3
    COMPLETED = 4


class Trigger(Enum):
    """Why a stage changes."""

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
    the shell needs to make a lease. `epoch` and `worker_id` are set exactly while it is EXECUTING.
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
    higher epoch, is revoked: it only occupies its slot until the worker reports its end.
    """

    worker_id: str
    session_id: str
    slots: int
    properties: Properties
    is_connected: bool = True
    is_draining: bool = False
    lost_at: int = 0
    leases: dict[int, str] = field(default_factory=dict)

    @property
    def takes_leases(self) -> bool:
        return self.is_connected and not self.is_draining
