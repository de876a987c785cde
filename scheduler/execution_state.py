"""What the scheduler says of a live operation beyond REAPI: in its metadata and in lists."""

from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState

from .allowance import Allowance
from .live_operation import LiveOperation
from .model import Execution, Stage
from .queue import Queue
from .reasons import expected_start, position, why_waiting

_SHARE_OF_STREAMS = 0.02
_SHARE_OF_QUESTIONS = 0.1
_MOST_SECONDS = 0.1


class ExecutionStates:
    """Where operations are in their queues, or which worker has them, and why.

    To find the place in a long queue takes far longer than to make a message, and while 100,000
    actions wait, their streams repeat thousands of messages a second (EX16). So places and reasons
    get a share of the time; what is beyond it says only how many wait. Questions for an operation,
    which are rarer, have a share of their own that streams cannot use up.
    """

    def __init__(self) -> None:
        self._streams = Allowance(_SHARE_OF_STREAMS, most_seconds=_MOST_SECONDS)
        self._questions = Allowance(_SHARE_OF_QUESTIONS, most_seconds=_MOST_SECONDS)

    def of(self, queue: Queue, live: LiveOperation, *, is_asked: bool) -> ExecutionState:
        """The state now; `is_asked` if somebody wants just this one."""
        state = ExecutionState(
            attempts=live.attempts,
            reason=live.reason,
            tenant=live.instance_name,
            invocation=live.invocation,
            target=live.target,
        )
        operation = queue.operations.get(live.name)
        if operation is None:
            # It has ended: the worker stands in the response.
            return state
        execution = queue.executions[operation.execution_id]
        if execution.stage is not Stage.QUEUED:
            state.worker_id = execution.worker_id
            return state
        allowance = self._questions if is_asked else self._streams
        if allowance.is_left:
            with allowance.spending():
                _add_place(state, queue, execution)
        else:
            state.reason = f"{queue.queued} actions wait"
        return state


def _add_place(state: ExecutionState, queue: Queue, execution: Execution) -> None:
    state.position = position(execution)
    state.reason = why_waiting(queue, execution)
    start = expected_start(queue, execution)
    if start:
        state.expected_start.FromMicroseconds(start)
