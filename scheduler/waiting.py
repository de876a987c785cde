"""The executions that wait for a worker: one lane for each set of required properties."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from .model import Execution, Properties, Stage

Entry = tuple[int, int, str]
"""(priority, sequence, execution_id): the most urgent first, then first come, first served."""


class Lane:
    """The waiting executions with the same required properties, best first.

    Entries of executions that have gone, or have become more urgent since, are dropped when they
    are met. `fail_at` is set while no known worker matches.
    """

    __slots__ = ("fail_at", "heap", "length", "properties")

    def __init__(self, properties: Properties) -> None:
        self.properties = properties
        self.heap: list[Entry] = []
        self.length = 0
        self.fail_at = 0


class Waiting:
    """All lanes. Lanes exist only while something waits in them."""

    def __init__(self, executions: dict[str, Execution]) -> None:
        self._executions = executions
        self.lanes: dict[Properties, Lane] = {}
        self.length = 0

    def push(self, execution: Execution) -> Lane:
        lane = self.lanes.get(execution.properties)
        if lane is None:
            lane = self.lanes[execution.properties] = Lane(execution.properties)
        heappush(lane.heap, _entry(execution))
        lane.length += 1
        self.length += 1
        return lane

    def reprioritize(self, execution: Execution) -> None:
        """To be called after the priority of a waiting execution has changed."""
        heappush(self.lanes[execution.properties].heap, _entry(execution))

    def remove(self, execution: Execution) -> None:
        """To be called before the stage of a waiting execution changes, for whatever reason."""
        lane = self.lanes[execution.properties]
        lane.length -= 1
        self.length -= 1
        if not lane.length:
            del self.lanes[execution.properties]
        elif len(lane.heap) > 2 * lane.length + 64:
            # Keeps what waits from being buried under entries of what was cancelled.
            lane.heap = [
                entry
                for entry in lane.heap
                if entry[2] != execution.execution_id and self._is_live(entry)
            ]
            heapify(lane.heap)

    def best(self, accepts: Callable[[Properties], bool]) -> Execution | None:
        """The most urgent execution among the lanes that `accepts`; it stays in its lane."""
        best: Entry | None = None
        for lane in self.lanes.values():
            if accepts(lane.properties):
                head = self._head(lane)
                if best is None or head < best:
                    best = head
        return None if best is None else self._executions[best[2]]

    def in_lane(self, properties: Properties) -> list[Execution]:
        """All that wait in one lane, first come first. Costs a look at every execution."""
        waiting = [
            one
            for one in self._executions.values()
            if one.stage is Stage.QUEUED and one.properties == properties
        ]
        return sorted(waiting, key=lambda execution: execution.sequence)

    def _head(self, lane: Lane) -> Entry:
        while not self._is_live(lane.heap[0]):
            heappop(lane.heap)
        return lane.heap[0]

    def _is_live(self, entry: Entry) -> bool:
        execution = self._executions.get(entry[2])
        return (
            execution is not None
            and execution.stage is Stage.QUEUED
            and execution.priority == entry[0]
        )


def _entry(execution: Execution) -> Entry:
    return (execution.priority, execution.sequence, execution.execution_id)
