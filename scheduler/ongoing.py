"""What becomes a row of history: operations that have not ended, and the runs that they share."""

from dataclasses import dataclass, field
from typing import NamedTuple

from reapi.core.cache_state import CacheFinding
from reapi.core.resource_usage import usage_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
    ExecuteResponse,
)

from .action_traits import ActionTraits, stored_text
from .history import LOST, Attempt, HistoryRow
from .microseconds import to_microseconds

_MOST_ATTEMPTS = 50
"""Of one execution: the latest are kept."""


@dataclass(slots=True)
class Run:
    """What the operations of one execution share."""

    execution_id: str
    attempts: list[Attempt] = field(default_factory=list)
    operations: int = 0

    def begin(self, attempt: Attempt) -> None:
        """A worker has the lease."""
        self.attempts.append(attempt)
        del self.attempts[:-_MOST_ATTEMPTS]

    def end(self, epoch: int, how: str, now: int) -> None:
        """An attempt is over, unless that was known."""
        for index, one in enumerate(self.attempts):
            if one.epoch == epoch and not one.end:
                self.attempts[index] = Attempt(*one[:4], how, now)

    def lose(self, now: int) -> None:
        """The execution waits again or is given up: whoever had it has it no longer."""
        for one in self.attempts:
            if not one.end:
                self.end(one.epoch, LOST, now)


class OngoingOperation(NamedTuple):
    """An operation that has not ended. `finding` is None if it began before a restart."""

    operation_name: str
    instance_name: str
    tenant: str
    invocation: str
    traits: ActionTraits
    finding: CacheFinding | None
    queued_at: int
    run: Run

    def row(self, finished_at: int, response: ExecuteResponse) -> HistoryRow:
        """How it ended; with 0, how it is so far."""
        finding, traits = self.finding, self.traits
        attempts, result, status = self.run.attempts, response.result, response.status
        # By position: by name it takes twice as long, and there is one for each action.
        return HistoryRow(
            self.operation_name,
            self.instance_name,
            traits.action,
            self.tenant,
            self.invocation,
            traits.target,
            traits.mnemonic,
            traits.target_key,
            traits.program_key,
            finding.state if finding is not None else "",
            finding.sentence if finding is not None else "",
            self.queued_at,
            attempts[-1].leased_at if attempts else 0,
            finished_at,
            duration_of(result.execution_metadata) if result.HasField("execution_metadata") else 0,
            result.exit_code,
            status.code,
            stored_text(status.message or response.message),
            tuple(attempts),
            *_used(result.execution_metadata),
        )


def _used(metadata: ExecutedActionMetadata) -> tuple[int, ...]:
    """The last columns of a row; none where the worker told nothing."""
    usage = usage_of(metadata)
    if usage is None:
        return ()
    amounts = (
        to_microseconds(usage.user_time),
        to_microseconds(usage.system_time),
        usage.peak_memory_bytes,
        usage.read_bytes,
        usage.written_bytes,
    )
    return tuple(max(0, amount) for amount in amounts)


def duration_of(metadata: ExecutedActionMetadata) -> int:
    """How long the command ran, as its worker says, in microseconds; 0 if it does not say it."""
    if metadata.HasField("virtual_execution_duration"):
        return to_microseconds(metadata.virtual_execution_duration)
    started = to_microseconds(metadata.execution_start_timestamp)
    completed = to_microseconds(metadata.execution_completed_timestamp)
    return max(0, completed - started) if started else 0
