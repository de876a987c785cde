"""What the decisions of the core depend on beside its events; set by an event, so a replay has it.

Times are in microseconds, shares in percent. Records of it are in journals: fields may be added at
the end with a default, never renamed or removed.
"""

from dataclasses import dataclass

from .model import Properties, Resources

TenantRow = tuple[str, int, int, int]
"""(name, weight, max_running, max_queued); 0 is no cap. The name "" is for all that have no row."""

PoolRow = tuple[Properties, Resources]
"""What each worker of a pool offers that is declared, and may have no worker now."""

RENDEZVOUS = "rendezvous"
MODULO = "modulo"


@dataclass(frozen=True, slots=True)
class Policy:
    """All numbers are positive unless 0 is said to mean something."""

    # A worker whose stream broke is lost after this time.
    reconnect_grace: int = 10_000_000
    # An execution that nobody watches ends after this time.
    unwatched_grace: int = 120_000_000
    # What no known worker or declared pool fits any more waits this long for one.
    unmatched_grace: int = 60_000_000
    # How many workers one action may lose before it is given up.
    max_attempts: int = 3
    placement: str = RENDEZVOUS
    # The N of modulo, which needs it; 0 when the number is not fixed.
    expected_workers: int = 0
    # No worker takes more than this share of the average load while others have room.
    load_percent: int = 125
    # How long an action waits for its preferred worker while others have room; 0: not at all.
    preferred_wait: int = 50_000
    # Waiting so long counts as much as one more priority.
    ageing: int = 1_000_000
    # An action that has waited so long without fitting anywhere gets a worker kept free; 0: never.
    starvation: int = 60_000_000
    # A second worker starts on an action that takes this share of the expected time; 0: never.
    hedge_percent: int = 0
    tenants: tuple[TenantRow, ...] = ()
    # Caps of each invocation; 0 is no cap.
    max_running_per_invocation: int = 0
    max_queued_per_invocation: int = 0
    # Of all together.
    max_queued: int = 100_000
    pools: tuple[PoolRow, ...] = ()
    # Tokens that the fleet shares, such as floating licences.
    fleet_resources: Resources = ()

    def __post_init__(self) -> None:
        if self.placement == MODULO and not self.expected_workers:
            raise ValueError("placement by modulo needs the number of expected workers")
