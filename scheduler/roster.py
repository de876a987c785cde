"""Lanes that are the same to every worker, and who of all that waits in them is first.

What a worker with room looks at, and what is told when it has room, is a roster: whatever the
number of lanes in it, neither takes longer than in one.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any

from .falls import Falls
from .line import Line, LineEntry
from .model import Execution, Resources, Worker
from .order import Branch, Order, Standing
from .resources import fits
from .ring import Ring

if TYPE_CHECKING:
    from .accounts import Invocation
    from .lane import Lane
    from .pool import Pool


class Bundle(Standing):
    """The lines of one invocation in the lanes of a roster: the one of the least share is first.

    What the invocation runs concerns all of them alike, so a line moves only when its own head is
    another. A line knows its only valid entry.
    """

    __slots__ = ("branch", "heap", "lines")

    def __init__(self, branch: "Branch[Bundle]", account: "Invocation") -> None:
        super().__init__(account)
        self.branch = branch
        self.lines: dict[int, Line] = {}
        self.heap: list[LineEntry] = []

    def relist(self, line: Line) -> None:
        """To be called when the head of a line may be more deserving than before."""
        entry = line.entry_of_head()
        if line.listed is None or entry < line.listed:
            line.listed = entry
            heappush(self.heap, entry)
            if len(self.heap) > 2 * len(self.lines) + 16:
                listed = (one.listed for one in self.lines.values())
                self.heap = [one for one in listed if one is not None]
                heapify(self.heap)

    def head(self) -> Execution:
        heap = self.heap
        while True:
            entry = heap[0]
            line = self.lines.get(entry[3])
            if line is None or line.listed is not entry:
                heappop(heap)
                continue
            fresh = line.entry_of_head()
            if fresh == entry:
                return line.head()
            line.listed = fresh
            heapreplace(heap, fresh)


class Roster(Order[Bundle]):
    """Lanes with equal `needs` and `tokens` whose executions the same `pools` can run.

    `rooms` are the workers that could take one more now: the free ones of `ring`. `order` is that
    of all that waits here: a lane that is alone is its own, and nothing is kept twice. `length` is
    the number of lines. Lanes whose pools have become the same again stay apart.
    """

    __slots__ = ("is_joint", "lanes", "needs", "order", "pools", "ring", "rooms", "tokens")

    def __init__(
        self, needs: Resources, tokens: Resources, pools: "list[Pool]", falls: Falls
    ) -> None:
        super().__init__(falls)
        self.needs = needs
        self.tokens = tokens
        self.pools = pools
        self.ring = Ring()
        self.rooms: set[str] = set()
        self.lanes: dict[int, Lane] = {}
        self.is_joint = False
        self.order: Order[Any] = self

    def standing_of(self, account: "Invocation") -> Bundle | None:
        return account.bundles.get(self)

    def could_take(self, worker: Worker) -> bool:
        """Whether one of its pools' workers has room for one more of it now."""
        return (
            len(worker.leases) < worker.slots
            and worker.takes_leases
            and not worker.reserved_for
            and fits(self.needs, worker.free)
        )

    @property
    def is_settled(self) -> bool:
        """Whether it says of all workers what is true of them, as it does between events."""
        return all(
            worker.takes_leases == (worker_id in self.ring)
            and self.could_take(worker) == (worker_id in self.rooms)
            for pool in self.pools
            for worker_id, worker in pool.workers.items()
        )

    def set_room(self, worker_id: str, has_room: bool) -> None:
        """Says whether a worker of the ring has room; to be called when that has changed."""
        self.ring.set_free(worker_id, has_room)
        if has_room:
            self.rooms.add(worker_id)
        else:
            self.rooms.remove(worker_id)

    # Lanes

    def join(self, lane: "Lane") -> None:
        """Takes in a lane, with what waits in it."""
        lane.enter(self)
        self.lanes[lane.number] = lane
        if self.is_joint:
            self._add_lines(lane)
        elif len(self.lanes) == 1:
            self.order = lane
        else:
            self.is_joint = True
            self.order = self
            for one in self.lanes.values():
                self._add_lines(one)

    def leave(self, lane: "Lane") -> None:
        """Lets a lane go, which is to join another or to be forgotten."""
        del self.lanes[lane.number]
        if self.is_joint:
            for branch in lane.branches.values():
                for line in branch.lines.values():
                    self.drop(line)

    def _add_lines(self, lane: "Lane") -> None:
        for branch in lane.branches.values():
            for line in branch.lines.values():
                self.add(line)

    # Lines, of a joint roster

    def add(self, line: Line) -> None:
        """Something waits in a line that was not here."""
        account = line.account
        bundle = account.bundles.get(self)
        line.listed = None
        self.length += 1
        if bundle is None:
            branch = self.branch_of(account.tenant)
            bundle = branch.lines[account.name] = account.bundles[self] = Bundle(branch, account)
            bundle.lines[line.number] = line
            bundle.relist(line)
            branch.relist(bundle)
            self.relist(branch)
        else:
            bundle.lines[line.number] = line
            self.rose(line)

    def rose(self, line: Line) -> None:
        """The head of a line may be more deserving than before."""
        bundle = line.account.bundles[self]
        bundle.relist(line)
        bundle.branch.relist(bundle)

    def drop(self, line: Line) -> None:
        """Nothing waits any more in a line, or it is no longer here."""
        account = line.account
        bundle = account.bundles[self]
        del bundle.lines[line.number]
        self.length -= 1
        if not bundle.lines:
            del account.bundles[self]
            self.forget(bundle.branch, bundle)
