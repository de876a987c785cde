"""Workers that offer the same."""

from .lane import Lane
from .model import Properties, Resources, Worker
from .platform import matches
from .resources import fits
from .roster import Roster

PoolKey = tuple[Properties, Resources, int]
"""(properties, resources, ordinal); the ordinal is -1 unless placement is by modulo."""


class Pool:
    """All known workers that offer exactly the same, `slots` together, `leases` of them taken."""

    __slots__ = ("key", "leases", "offered", "ordinal", "rosters", "slots", "totals", "workers")

    def __init__(self, key: PoolKey) -> None:
        self.key = key
        properties, resources, self.ordinal = key
        self.offered = frozenset(properties)
        self.totals = dict(resources)
        self.workers: dict[str, Worker] = {}
        self.rosters: list[Roster] = []
        self.slots = 0
        self.leases = 0

    def could_run(self, lane: Lane) -> bool:
        """Whether an idle worker of the pool could run what waits in the lane."""
        return (
            lane.owner == self.ordinal
            and matches(lane.properties, self.offered)
            and fits(lane.needs, self.totals)
        )
