"""What asks for the same: the executions that wait for it and the workers that could run them."""

from typing import TYPE_CHECKING

from .falls import Falls
from .model import Execution, Properties, Resources
from .order import Order
from .ring import Ring

if TYPE_CHECKING:
    from .pool import Pool

LaneKey = tuple[Properties, Resources, int]
"""(properties, resources, owner): what is asked for and, with placement by modulo, the ordinal of
the one worker that runs it; -1 with any other placement."""


class Lane(Order):
    """One lane. `pools` are those of known workers that could ever run what is in it.

    `needs` is what an execution takes of its worker beside a slot, `tokens` of what the fleet
    shares. `rooms` are the workers that could take one more now: the free ones of `ring`. `held`
    are the executions that wait for their preferred worker although others have room.
    `fail_at` is set while nobody can ever run what waits. At `starve_at` it is looked whether the
    head has waited too long and gets a worker kept free for it; `reserved` is a worker kept so.
    """

    __slots__ = (
        "fail_at",
        "held",
        "is_declared",
        "key",
        "needs",
        "owner",
        "pools",
        "properties",
        "reserved",
        "resources",
        "ring",
        "rooms",
        "starve_at",
        "tokens",
    )

    def __init__(
        self,
        key: LaneKey,
        needs: Resources,
        tokens: Resources,
        is_declared: bool,
        executions: dict[str, Execution],
        falls: Falls,
    ) -> None:
        super().__init__(executions, falls)
        self.key = key
        self.properties, self.resources, self.owner = key
        self.needs = needs
        self.tokens = tokens
        self.is_declared = is_declared
        self.ring = Ring()
        self.rooms: set[str] = set()
        self.pools: list[Pool] = []
        self.held: dict[str, None] = {}
        self.fail_at = 0
        self.starve_at = 0
        self.reserved = ""

    @property
    def is_used(self) -> bool:
        """Whether anything waits in it."""
        return bool(self.length or self.held)

    def set_room(self, worker_id: str, has_room: bool) -> None:
        """Says whether a worker of the ring has room; to be called when that has changed."""
        self.ring.set_free(worker_id, has_room)
        if has_room:
            self.rooms.add(worker_id)
        else:
            self.rooms.remove(worker_id)
