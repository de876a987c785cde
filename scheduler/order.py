"""In which order executions get their turn: fair shares by what runs.

The tenant that runs least for its weight is first, then of its invocations the one that runs least,
then its most urgent execution. Among equals the one whose last turn is longest ago is first.

Tenants and invocations are kept in heaps by the key that they had when they were last looked at. A
key rises with every lease; that is seen when the entry comes to the head, which is then put where
it belongs. When a key falls, `relist` adds a fresh entry; for what has ended that is done when the
order is next looked at. A node knows its only valid entry.
"""

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Generic, TypeVar

from .falls import Falls
from .model import Execution
from .priority import scale

if TYPE_CHECKING:
    from .accounts import Invocation, Tenant

_UNIT = 1 << 20

NodeEntry = tuple[int, int, str]
"""(share, turn, name) of a tenant or an invocation."""

Rank = tuple[NodeEntry, NodeEntry, int, int]
"""How deserving the head of an order is, to be compared with the heads of others: the last two are
its urgency and its sequence."""


class Standing(ABC):
    """What waits of one invocation in one order; there is something as long as this exists."""

    __slots__ = ("account", "entry", "name")

    def __init__(self, account: "Invocation") -> None:
        self.account = account
        self.name = account.name
        self.entry: NodeEntry | None = None

    @abstractmethod
    def head(self) -> Execution:
        """The one whose turn is first."""

    def share(self) -> int:
        return (self.account.running + 1) * scale(self.head().priority)


S = TypeVar("S", bound=Standing)


class Branch(Generic[S]):
    """What waits of one tenant in one order, by invocation."""

    __slots__ = ("entry", "heap", "lines", "name", "tenant")

    def __init__(self, tenant: "Tenant") -> None:
        self.tenant = tenant
        self.name = tenant.name
        self.entry: NodeEntry | None = None
        self.lines: dict[str, S] = {}
        self.heap: list[NodeEntry] = []

    def share(self) -> int:
        return self.tenant.running * _UNIT // self.tenant.weight

    def relist(self, line: S) -> None:
        """To be called when the key of a line may have fallen, or a cap is no longer reached."""
        share, turn, old = line.share(), line.account.turn, line.entry
        if old is None or share < old[0] or (share == old[0] and turn < old[1]):
            line.entry = entry = (share, turn, line.name)
            heappush(self.heap, entry)
            if len(self.heap) > 2 * len(self.lines) + 16:
                self.heap = [one.entry for one in self.lines.values() if one.entry is not None]
                heapify(self.heap)

    def head(self) -> Execution | None:
        """The execution whose turn it is; None if caps keep all from running."""
        heap = self.heap
        while heap:
            entry = heap[0]
            line = self.lines.get(entry[2])
            if line is None or line.entry is not entry:
                heappop(heap)
                continue
            account = line.account
            execution = line.head()
            share = (account.running + 1) * scale(execution.priority)
            if entry[0] != share or entry[1] != account.turn:
                line.entry = fresh = (share, account.turn, entry[2])
                heapreplace(heap, fresh)
            elif 0 < account.max_running <= account.running:
                heappop(heap)
                line.entry = None
            else:
                return execution
        return None


class Order(ABC, Generic[S]):
    """An order of executions that wait; `length` is 0 exactly when there are none."""

    __slots__ = ("branches", "falls", "falls_seen", "heap", "length")

    def __init__(self, falls: Falls) -> None:
        self.falls = falls
        self.falls_seen = falls.count
        self.branches: dict[str, Branch[S]] = {}
        self.heap: list[NodeEntry] = []
        self.length = 0

    @abstractmethod
    def standing_of(self, account: "Invocation") -> S | None:
        """What waits of that invocation in this order, if anything does."""

    def branch_of(self, tenant: "Tenant") -> Branch[S]:
        """That of the tenant, new or known."""
        branch = self.branches.get(tenant.name)
        if branch is None:
            branch = self.branches[tenant.name] = tenant.branches[self] = Branch(tenant)
        return branch

    def forget(self, branch: Branch[S], line: S) -> None:
        """To be called when nothing waits any more in one of the lines of a branch."""
        del branch.lines[line.name]
        if not branch.lines:
            del self.branches[branch.name], branch.tenant.branches[self]

    def relist(self, branch: Branch[S]) -> None:
        """To be called when the key of a tenant may have fallen, or a cap is no longer reached."""
        share, turn, old = branch.share(), branch.tenant.turn, branch.entry
        if old is None or share < old[0] or (share == old[0] and turn < old[1]):
            branch.entry = entry = (share, turn, branch.name)
            heappush(self.heap, entry)
            if len(self.heap) > 2 * len(self.branches) + 16:
                self.heap = [one.entry for one in self.branches.values() if one.entry is not None]
                heapify(self.heap)

    def _catch_up(self) -> None:
        """Relists those of which something has ended since the last look at this order."""
        falls, seen = self.falls, self.falls_seen
        self.falls_seen = falls.count
        if seen + 1 == falls.count and falls.last is not None:
            self._fell(falls.last)
            return
        fallen = falls.since(seen)
        if fallen is None or len(fallen) > self.length:
            for branch in self.branches.values():
                for line in branch.lines.values():
                    branch.relist(line)
                self.relist(branch)
            return
        for account in fallen:
            self._fell(account)

    def _fell(self, account: "Invocation") -> None:
        branch = account.tenant.branches.get(self)
        if branch is not None:
            line = self.standing_of(account)
            if line is not None:
                branch.relist(line)
            self.relist(branch)

    def head(self) -> Execution | None:
        """The execution whose turn it is; None if caps keep all from running."""
        if self.falls_seen != self.falls.count:
            self._catch_up()
        heap = self.heap
        while heap:
            entry = heap[0]
            branch = self.branches.get(entry[2])
            if branch is None or branch.entry is not entry:
                heappop(heap)
                continue
            tenant = branch.tenant
            share = tenant.running * _UNIT // tenant.weight
            if entry[0] != share or entry[1] != tenant.turn:
                branch.entry = fresh = (share, tenant.turn, entry[2])
                heapreplace(heap, fresh)
                continue
            if not 0 < tenant.max_running <= tenant.running:
                execution = branch.head()
                if execution is not None:
                    return execution
            heappop(heap)
            branch.entry = None
        return None

    def rank(self, head: Execution) -> Rank:
        """That of the head, which `head` has just found."""
        entry = self.heap[0]
        return entry, self.branches[entry[2]].heap[0], head.urgency, head.sequence
