"""Explain and ListHistory of reapi.scheduler.v1.SchedulerService."""

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.core.cache_state import CacheState
from reapi.core.digest import parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.reapi.executor.v1.usage_pb2 import ResourceUsage
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2

from .action_traits import stored_text
from .explainer import Explainer
from .explanation import Explanation
from .history import Attempt, HistoryQuery, HistoryRow
from .microseconds import to_microseconds
from .opened_history import History
from .operation_book import LONGEST_NAME

_SERVICE = scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"]
_DEFAULT_LIMIT = 100
_LARGEST_LIMIT = 1000
_LARGEST_REPLY_BYTES = 3 << 20


class ExplainService:
    """What happened to actions, and why."""

    def __init__(self, explainer: Explainer, history: History, instances: Instances) -> None:
        self._explainer = explainer
        self._history = history
        self._instances = instances

    def methods(self) -> list[Method]:
        """The rows of these two methods."""
        return bind(_SERVICE, {"Explain": self.explain, "ListHistory": self.list_history})

    async def explain(
        self, request: scheduler_pb2.ExplainRequest, call: Call
    ) -> scheduler_pb2.ExplainResponse:
        """Raises NotFound for an operation that is not known; every action can be explained."""
        match request.WhichOneof("subject"):
            case "operation_name":
                if len(request.operation_name) > LONGEST_NAME:
                    raise InvalidArgument("the operation's name is too long")
                name = stored_text(request.operation_name)
                explanation = await self._explainer.explain_operation(name)
            case "action_digest":
                function = self._instances.parse_function(
                    request.instance_name,
                    request.digest_function,
                    len(request.action_digest.hash),
                )
                action = parse_digest(request.action_digest, function)
                explanation = await self._explainer.explain_action(request.instance_name, action)
            case _:
                raise InvalidArgument("neither action_digest nor operation_name is set")
        return _response(explanation)

    async def list_history(
        self, request: scheduler_pb2.ListHistoryRequest, call: Call
    ) -> scheduler_pb2.ListHistoryResponse:
        """As many of the latest as are asked for and fit into a reply."""
        has_time = request.HasField("finished_since")
        query = HistoryQuery(
            instance_name=stored_text(request.instance_name) or None,
            target=stored_text(request.target) or None,
            worker_id=stored_text(request.worker_id) or None,
            finished_since=to_microseconds(request.finished_since) if has_time else None,
            is_failed=True if request.failed_only else None,
        )
        await self._history.writer.flush()
        limit = min(request.limit or _DEFAULT_LIMIT, _LARGEST_LIMIT)
        response = scheduler_pb2.ListHistoryResponse()
        size = 0
        for row in await self._history.store.select(query, limit):
            entry = _entry(row)
            size += entry.ByteSize()
            if size > _LARGEST_REPLY_BYTES:
                break
            response.entries.append(entry)
        return response


def _response(explanation: Explanation) -> scheduler_pb2.ExplainResponse:
    response = scheduler_pb2.ExplainResponse(
        lines=explanation.lines(),
        cache_state=explanation.cache.state,
        cache_reason=explanation.cache_reason,
        run_reason=explanation.run_reason,
        notes=explanation.comparison.notes,
    )
    for one in explanation.comparison.differences:
        response.differences.add(
            kind=one.kind, subject=one.subject, earlier=one.earlier, now=one.now
        )
    operation = explanation.operation
    if operation is not None:
        response.history.append(_entry(operation))
        if not operation.finished_at:
            response.state.CopyFrom(_state(operation, explanation.waiting))
    response.history.extend(_entry(row) for row in explanation.earlier)
    if explanation.compared_with is not None:
        response.compared_with.CopyFrom(_entry(explanation.compared_with))
    return response


def _state(operation: HistoryRow, waiting: str) -> scheduler_pb2.ExecutionState:
    running = [one for one in operation.attempts if not one.end]
    return scheduler_pb2.ExecutionState(
        attempts=len(operation.attempts),
        worker_id=running[-1].worker_id if running else "",
        reason=running[-1].reason if running else waiting,
    )


def _entry(row: HistoryRow) -> scheduler_pb2.HistoryEntry:
    entry = scheduler_pb2.HistoryEntry(
        operation_name=row.operation_name,
        instance_name=row.instance_name,
        action_digest=row.action.to_message(),
        digest_function=row.action.function.name,
        tenant=row.tenant,
        invocation=row.invocation,
        target=row.target,
        mnemonic=row.mnemonic,
        queued_at=_timestamp(row.queued_at),
        started_at=_timestamp(row.started_at),
        finished_at=_timestamp(row.finished_at),
        cached=row.cache_state == CacheState.PRESENT,
        cache_state=row.cache_state,
        exit_code=row.exit_code,
        status_code=row.status_code,
        message=row.message,
        attempts=map(_attempt, row.attempts),
    )
    if row.user_time or row.peak_memory_bytes:
        entry.usage.CopyFrom(_usage(row))
    if row.duration:
        entry.duration.FromMicroseconds(row.duration)
    return entry


def _usage(row: HistoryRow) -> ResourceUsage:
    usage = ResourceUsage(
        peak_memory_bytes=row.peak_memory_bytes,
        read_bytes=row.read_bytes,
        written_bytes=row.written_bytes,
    )
    usage.user_time.FromMicroseconds(row.user_time)
    usage.system_time.FromMicroseconds(row.system_time)
    return usage


def _attempt(attempt: Attempt) -> scheduler_pb2.Attempt:
    return scheduler_pb2.Attempt(
        worker_id=attempt.worker_id,
        epoch=attempt.epoch,
        leased_at=_timestamp(attempt.leased_at),
        reason=attempt.reason,
        end=attempt.end,
        ended_at=_timestamp(attempt.ended_at),
    )


def _timestamp(microseconds: int) -> Timestamp | None:
    if not microseconds:
        return None
    made = Timestamp()
    made.FromMicroseconds(microseconds)
    return made
