"""What asks for the same: the executions that wait for it and the workers that could run them."""

from typing import TYPE_CHECKING

from .falls import Falls
from .line import Line
from .model import Execution, Properties, Resources
from .order import Order
from .ring import Ring

if TYPE_CHECKING:
    from .accounts import Invocation
    from .pool import Pool
    from .roster import Roster

LaneKey = tuple[Properties, Resources, int]
"""(properties, resources, owner): what is asked for and, with placement by modulo, the ordinal of
the one worker that runs it; -1 with any other placement."""


class Lane(Order[Line]):
    """One lane, and the order of all that waits in it but for what is held.

    `needs` is what an execution takes of its worker beside a slot, `tokens` of what the fleet
    shares. `pools` are those of known workers that could ever run what is in it, `rooms` the
    workers that could take one more now, the free ones of `ring`; all three are those of the
    roster. `held` are the executions that wait for their preferred worker although others have
    room. `fail_at` is set while nobody can ever run what waits. At `starve_at` it is looked whether
    the head has waited too long and gets a worker kept free for it; `reserved` is a worker kept so.
    `expected` is the sum of the expected times of those that have one, `expected_length` their
    number. No two lanes ever have the same `number`.
    """

    __slots__ = (
        "executions",
        "expected",
        "expected_length",
        "fail_at",
        "held",
        "is_declared",
        "key",
        "needs",
        "number",
        "owner",
        "pools",
        "properties",
        "reserved",
        "resources",
        "ring",
        "rooms",
        "roster",
        "starve_at",
        "tokens",
    )

    pools: "list[Pool]"
    ring: Ring
    rooms: set[str]
    roster: "Roster"

    def __init__(
        self,
        key: LaneKey,
        number: int,
        needs: Resources,
        tokens: Resources,
        is_declared: bool,
        executions: dict[str, Execution],
        falls: Falls,
    ) -> None:
        super().__init__(falls)
        self.key = key
        self.properties, self.resources, self.owner = key
        self.number = number
        self.needs = needs
        self.tokens = tokens
        self.is_declared = is_declared
        self.executions = executions
        self.held: dict[str, None] = {}
        self.fail_at = 0
        self.starve_at = 0
        self.reserved = ""
        self.expected = 0
        self.expected_length = 0

    @property
    def is_used(self) -> bool:
        """Whether anything waits in it."""
        return bool(self.length or self.held)

    def enter(self, roster: "Roster") -> None:
        """To be called by a roster that takes it in."""
        self.roster = roster
        self.pools, self.ring, self.rooms = roster.pools, roster.ring, roster.rooms

    def standing_of(self, account: "Invocation") -> Line | None:
        return account.lines.get(self)

    def push(self, execution: Execution) -> None:
        account = execution.account
        line = account.lines.get(self)
        if line is None:
            branch = self.branch_of(account.tenant)
            line = Line(branch, account, self.number, self.executions)
            branch.lines[account.name] = account.lines[self] = line
            line.push(execution)
            branch.relist(line)
            self.relist(branch)
            if self.roster.is_joint:
                self.roster.add(line)
        else:
            line.push(execution)
            if line.heap[0][2] == execution.execution_id:
                self._rose(line)
        line.length += 1
        self.length += 1
        if execution.expected:
            self.expected += execution.expected
            self.expected_length += 1

    def reprioritize(self, execution: Execution) -> None:
        """To be called after a waiting execution has become more urgent."""
        line = execution.account.lines[self]
        line.push(execution)
        self._rose(line)

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
            del account.lines[self]
            self.forget(line.branch, line)
            if self.roster.is_joint:
                self.roster.drop(line)
        elif line.head() is execution:
            line.drop_head()
            if line.head().priority < execution.priority:
                self._rose(line)
        else:
            line.compact()

    def _rose(self, line: Line) -> None:
        """The head of a line is another, which may be more deserving than the one before."""
        line.branch.relist(line)
        if self.roster.is_joint:
            self.roster.rose(line)
