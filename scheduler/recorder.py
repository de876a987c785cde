"""Follows what happens to each operation, from the events and commands of the core, for history.

What it knows of live operations is in memory: after a restart the attempts before it are missing,
and so is what the action cache said.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from google.rpc import code_pb2

from reapi.core.cache_state import CacheFinding, CacheState
from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteResponse,
    RequestMetadata,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease

from .action_traits import ActionTraits, stored_text, traits_of
from .commands import Command, FinishOperations, OfferLease, RevokeLease, TellWaiters
from .events import Enqueue, Event, LeaseCompleted, LeaseReturned
from .expected_durations import ExpectedDurations
from .history import COMPLETED, RETURNED, REVOKED, Attempt, HistoryRow, ObservedDuration
from .lease_builder import action_digest_of
from .microseconds import to_microseconds
from .model import Execution, Stage, Why
from .ongoing import OngoingOperation, Run
from .operation_message import response_of
from .reasons import why_chosen
from .state import State


class HistorySink(Protocol):
    """Where finished operations go."""

    def add(self, row: HistoryRow) -> None:
        """One more; does not wait."""


class Recorder:
    """Told of everything by the dispatcher and of cache hits by Execution; feeds `durations`.

    Nothing here waits or fails. `now` is the time in microseconds since 1970.
    """

    def __init__(
        self,
        history: HistorySink,
        durations: ExpectedDurations,
        now: Callable[[], int],
    ) -> None:
        self._history = history
        self._now = now
        self._ongoing: dict[str, OngoingOperation] = {}
        self._runs: dict[str, Run] = {}
        self._described: tuple[str, ActionTraits, CacheFinding] | None = None
        self.durations = durations

    # For Execution

    def hit(
        self,
        operation_name: str,
        instance_name: str,
        action: Digest,
        metadata: RequestMetadata,
    ) -> None:
        """Execute was answered from the action cache."""
        now = self._now()
        self._history.add(
            HistoryRow(
                operation_name=operation_name,
                instance_name=instance_name,
                action=action,
                tenant=instance_name,
                invocation=stored_text(metadata.tool_invocation_id),
                target=stored_text(metadata.target_id),
                mnemonic=stored_text(metadata.action_mnemonic),
                target_key=None,
                program_key=None,
                cache_state=CacheState.PRESENT,
                cache_reason="",
                queued_at=now,
                started_at=0,
                finished_at=now,
                duration=0,
                exit_code=0,
                status_code=code_pb2.OK,
                message="",
                attempts=(),
            )
        )

    def describe(self, operation_name: str, traits: ActionTraits, finding: CacheFinding) -> None:
        """What the Enqueue of that name, which comes next, is about."""
        self._described = operation_name, traits, finding

    # For the dispatcher

    def recover(self, state: State) -> None:
        """These executions were in the journal."""
        for execution in state.executions.values():
            template = Lease.FromString(execution.lease_template)
            run = self._run(execution.execution_id)
            if execution.stage is Stage.EXECUTING:
                run.begin(_attempt_before_restart(execution))
            metadata = template.request_metadata
            for name in execution.operations:
                run.operations += 1
                self._ongoing[name] = OngoingOperation(
                    operation_name=name,
                    instance_name=execution.instance_name,
                    tenant=execution.instance_name,
                    invocation=stored_text(metadata.tool_invocation_id),
                    traits=_traits_of_template(template),
                    finding=None,
                    queued_at=to_microseconds(template.queued_timestamp),
                    run=run,
                )

    def note(
        self,
        event: Event,
        commands: Sequence[Command],
        response: ExecuteResponse | None,
        state: State,
        now: int,
    ) -> None:
        """The core has answered `event` with `commands` and is in `state`.

        `response` is the worker's, with a LeaseCompleted.
        """
        if type(event) is Enqueue:
            self._begin(event, state, now)
        elif type(event) is LeaseCompleted:
            self._end(event.execution_id, event.epoch, COMPLETED, now)
        elif type(event) is LeaseReturned:
            self._end(event.execution_id, event.epoch, RETURNED, now)
        for command in commands:
            if type(command) is RevokeLease:
                self._end(command.execution_id, command.epoch, REVOKED, now)
        for command in commands:
            if type(command) is OfferLease:
                self._lease(command, now)
            elif type(command) is TellWaiters and command.stage is Stage.QUEUED:
                self._ongoing[command.operation_names[0]].run.lose(now)
            elif type(command) is FinishOperations:
                self._finish(command, response, now)

    def ongoing(self, operation_name: str) -> HistoryRow | None:
        """An operation that has not ended, as far as it is: its `finished_at` is 0."""
        operation = self._ongoing.get(operation_name)
        return None if operation is None else operation.row(0, ExecuteResponse())

    def ongoing_of(self, instance_name: str, action: Digest) -> HistoryRow | None:
        """One of that action that goes on, if any. Looks at all that go on."""
        for name, operation in self._ongoing.items():
            if operation.traits.action == action and operation.instance_name == instance_name:
                return self.ongoing(name)
        return None

    def story_of_failure(self, operation_names: Sequence[str], response: ExecuteResponse) -> str:
        """For whoever sees an action fail: that workers were lost over it; else nothing.

        To be asked before the end is noted.
        """
        operation = self._ongoing.get(operation_names[0])
        is_success = response.status.code == code_pb2.OK and response.result.exit_code == 0
        if operation is None or is_success:
            return ""
        ended = [f"{one.worker_id} ({one.end})" for one in operation.run.attempts if one.end]
        if not ended:
            return ""
        return (
            f"earlier attempts were on {', '.join(ended)}; "
            f"`reapi-cli explain {operation.traits.action}` says more"
        )

    def _begin(self, event: Enqueue, state: State, now: int) -> None:
        name = event.operation_name
        described, self._described = self._described, None
        finding: CacheFinding | None = None
        if described is not None and described[0] == name:
            _, traits, finding = described
        else:
            traits = _traits_of_template(Lease.FromString(event.lease_template))
        operation = state.operations.get(name)
        # One that has ended already got no execution: no worker can ever run it.
        run = self._run(operation.execution_id if operation is not None else name)
        run.operations += 1
        self._ongoing[name] = OngoingOperation(
            name,
            event.instance_name,
            stored_text(event.tenant),
            stored_text(event.invocation),
            traits,
            finding,
            now,
            run,
        )

    def _lease(self, command: OfferLease, now: int) -> None:
        run = self._run(command.execution_id)
        if command.choice.why is not Why.HEDGE:
            run.lose(now)
        reason = why_chosen(command.choice, command.worker_id)
        run.begin(Attempt(command.worker_id, command.epoch, now, reason))

    def _finish(
        self, command: FinishOperations, response: ExecuteResponse | None, now: int
    ) -> None:
        if command.outcome is not None:
            response = response_of(command.outcome)
        assert response is not None, "the core finishes without an outcome on LeaseCompleted only"
        operations = [self._ongoing.pop(name) for name in command.operation_names]
        for operation in operations:
            run = operation.run
            run.operations -= 1
            if not run.operations:
                run.lose(now)
                del self._runs[run.execution_id]
        rows = [operation.row(now, response) for operation in operations]
        for row in rows:
            self._history.add(row)
        row = rows[0]
        if row.is_success and row.duration:
            self.durations.observe(
                ObservedDuration(row.instance_name, row.target, row.mnemonic, row.duration)
            )

    def _end(self, execution_id: str, epoch: int, how: str, now: int) -> None:
        run = self._runs.get(execution_id)
        if run is not None:
            run.end(epoch, how, now)

    def _run(self, execution_id: str) -> Run:
        run = self._runs.get(execution_id)
        if run is None:
            run = self._runs[execution_id] = Run(execution_id)
        return run


def _attempt_before_restart(execution: Execution) -> Attempt:
    reason = "it had the lease before the scheduler was restarted"
    return Attempt(execution.worker_id, execution.epoch, 0, reason)


def _traits_of_template(template: Lease) -> ActionTraits:
    digest, metadata = action_digest_of(template), template.request_metadata
    return traits_of(template.instance_name, digest, metadata, None)
