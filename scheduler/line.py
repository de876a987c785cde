"""What waits of one invocation in one lane, the most urgent first."""

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from .model import Execution, Stage
from .order import Branch, Standing
from .priority import scale

if TYPE_CHECKING:
    from .accounts import Invocation

Entry = tuple[int, int, str]
"""(urgency, sequence, execution_id)"""

LineEntry = tuple[int, int, int, int]
"""(scale of the priority, urgency, sequence, number of the lane), all but the last of the head."""


class Line(Standing):
    """The waiting executions of one invocation in one lane.

    Entries of executions that have gone, or have become more urgent since, are dropped when they
    are met. `number` is that of the lane; `listed` is the entry of the line in the bundle that it
    is in, if it is in one.
    """

    __slots__ = ("branch", "executions", "heap", "length", "listed", "number")

    def __init__(
        self,
        branch: "Branch[Line]",
        account: "Invocation",
        number: int,
        executions: dict[str, Execution],
    ) -> None:
        super().__init__(account)
        self.branch = branch
        self.number = number
        self.executions = executions
        self.listed: LineEntry | None = None
        self.heap: list[Entry] = []
        self.length = 0

    def head(self) -> Execution:
        """The most urgent one; there is one as long as the line exists."""
        heap = self.heap
        executions = self.executions
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

    def entry_of_head(self) -> LineEntry:
        """Where the line is among those of its invocation in other lanes."""
        head = self.head()
        return scale(head.priority), head.urgency, head.sequence, self.number

    def push(self, execution: Execution) -> None:
        heappush(self.heap, (execution.urgency, execution.sequence, execution.execution_id))

    def drop_head(self) -> None:
        """Forgets the head, which goes; it is not the last one."""
        heap = self.heap
        execution_id = heap[0][2]
        while heap[0][2] == execution_id:
            heappop(heap)

    def compact(self) -> None:
        """Keeps what waits from being buried under entries of what has gone."""
        if len(self.heap) > 2 * self.length + 64:
            executions = self.executions
            live = {
                entry
                for entry in self.heap
                if (one := executions.get(entry[2])) is not None
                and one.urgency == entry[0]
                and one.stage is Stage.QUEUED
            }
            self.heap = sorted(live)
