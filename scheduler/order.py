"""In which order the executions of one lane get their turn: fair shares by what runs.

The tenant that runs least for its weight is first, then of its invocations the one that runs least,
then its most urgent execution. Among equals the one whose last turn is longest ago is first.

Tenants and invocations are kept in heaps by the key that they had when they were last looked at. A
key rises with every lease; that is seen when the entry comes to the head, which is then put where
it belongs. When a key falls, `relist` adds a fresh entry; for what has ended that is done when the
lane is next looked at. A node knows its only valid entry.
"""

from heapq import heapify, heappop, heappush, heapreplace

from .accounts import Invocation, Tenant
from .falls import Falls
from .model import Execution, Stage
from .priority import scale

_UNIT = 1 << 20

NodeEntry = tuple[int, int, str]
"""(share, turn, name) of a tenant or an invocation."""

Entry = tuple[int, int, str]
"""(urgency, sequence, execution_id)"""

Rank = tuple[NodeEntry, NodeEntry, Entry]
"""How deserving the head of a lane is, to be compared with the heads of other lanes."""


class Line:
    """The waiting executions of one invocation in one lane, the most urgent first.

    Entries of executions that have gone, or have become more urgent since, are dropped when they
    are met.
    """

    __slots__ = ("account", "branch", "entry", "heap", "length", "name")

    def __init__(self, branch: "Branch", account: Invocation) -> None:
        self.branch = branch
        self.account = account
        self.name = account.name
        self.entry: NodeEntry | None = None
        self.heap: list[Entry] = []
        self.length = 0

    def head(self) -> Execution:
        """The most urgent one; there is one as long as the line exists."""
        heap = self.heap
        executions = self.branch.order.executions
        while True:
            entry = heap[0]
            execution = executions.get(entry[2])
            if (
                execution is not None
                and execution.urgency == entry[0]
                and execution.stage is Stage.QUEUED
                and not execution.held_until
            ):
                return execution
            heappop(heap)

    def push(self, execution: Execution) -> None:
        heappush(self.heap, (execution.urgency, execution.sequence, execution.execution_id))

    def compact(self) -> None:
        """Keeps what waits from being buried under entries of what has gone."""
        if len(self.heap) > 2 * self.length + 64:
            executions = self.branch.order.executions
            live = {
                entry
                for entry in self.heap
                if (one := executions.get(entry[2])) is not None
                and one.urgency == entry[0]
                and one.stage is Stage.QUEUED
            }
            self.heap = sorted(live)

    def share(self) -> int:
        account = self.account
        return (account.running + 1) * scale(self.head().priority)


class Branch:
    """The lines of one tenant in one lane."""

    __slots__ = ("entry", "heap", "lines", "name", "order", "tenant")

    def __init__(self, order: "Order", tenant: Tenant) -> None:
        self.order = order
        self.tenant = tenant
        self.name = tenant.name
        self.entry: NodeEntry | None = None
        self.lines: dict[str, Line] = {}
        self.heap: list[NodeEntry] = []

    def share(self) -> int:
        return self.tenant.running * _UNIT // self.tenant.weight

    def relist(self, line: Line) -> None:
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


class Order:
    """All that waits in one lane, but for what is held for a preferred worker."""

    __slots__ = (
        "branches",
        "executions",
        "expected",
        "expected_length",
        "falls",
        "falls_seen",
        "heap",
        "length",
    )

    def __init__(self, executions: dict[str, Execution], falls: Falls) -> None:
        self.executions = executions
        self.falls = falls
        self.falls_seen = falls.count
        self.branches: dict[str, Branch] = {}
        self.heap: list[NodeEntry] = []
        self.length = 0
        # The sum of the expected times of those that have one, and their number.
        self.expected = 0
        self.expected_length = 0

    def push(self, execution: Execution) -> None:
        account = execution.account
        line = account.lines.get(self)
        if line is None:
            tenant = account.tenant
            branch = self.branches.get(tenant.name)
            if branch is None:
                branch = self.branches[tenant.name] = tenant.branches[self] = Branch(self, tenant)
            line = branch.lines[account.name] = account.lines[self] = Line(branch, account)
            line.push(execution)
            branch.relist(line)
            self.relist(branch)
        else:
            line.push(execution)
            if line.heap[0][2] == execution.execution_id:
                line.branch.relist(line)
        line.length += 1
        self.length += 1
        if execution.expected:
            self.expected += execution.expected
            self.expected_length += 1

    def reprioritize(self, execution: Execution) -> None:
        """To be called after a waiting execution has become more urgent."""
        line = execution.account.lines[self]
        line.push(execution)
        line.branch.relist(line)

    def remove(self, execution: Execution) -> None:
        """To be called before the stage of a waiting execution changes, for whatever reason."""
        account = execution.account
        line = account.lines[self]
        line.length -= 1
        self.length -= 1
        if execution.expected:
            self.expected -= execution.expected
            self.expected_length -= 1
        if not line.length:
            branch = line.branch
            del account.lines[self], branch.lines[line.name]
            if not branch.lines:
                del self.branches[branch.name], branch.tenant.branches[self]
        elif line.head() is execution:
            heap, execution_id = line.heap, execution.execution_id
            while heap[0][2] == execution_id:
                heappop(heap)
            if line.head().priority < execution.priority:
                line.branch.relist(line)
        else:
            line.compact()

    def relist(self, branch: Branch) -> None:
        """To be called when the key of a tenant may have fallen, or a cap is no longer reached."""
        share, turn, old = branch.share(), branch.tenant.turn, branch.entry
        if old is None or share < old[0] or (share == old[0] and turn < old[1]):
            branch.entry = entry = (share, turn, branch.name)
            heappush(self.heap, entry)
            if len(self.heap) > 2 * len(self.branches) + 16:
                self.heap = [one.entry for one in self.branches.values() if one.entry is not None]
                heapify(self.heap)

    def _catch_up(self) -> None:
        """Relists those of which something has ended since the last look at this lane."""
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

    def _fell(self, account: Invocation) -> None:
        branch = account.tenant.branches.get(self)
        if branch is not None:
            line = account.lines.get(self)
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

    def rank(self) -> Rank:
        """That of the head; right after `head` has found one."""
        entry = self.heap[0]
        branch = self.branches[entry[2]]
        line = branch.lines[branch.heap[0][2]]
        return entry, branch.heap[0], line.heap[0]
