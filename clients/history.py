"""What happened to actions, and why: asks the scheduler."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from reapi.core.digest import Digest, parse_digest, parse_function
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2

from .channel import CALL_SECONDS, Channel
from .methods import EXPLAIN, LIST_HISTORY
from .model import Attempt, Difference, Explanation, HistoryEntry, HistoryQuery
from .usage import to_usage


async def explain(
    channel: Channel,
    instance_name: str,
    subject: Digest | str,
    *,
    timeout: float | None = CALL_SECONDS,
) -> Explanation:
    """An action by its digest, an operation by its name; NotFound for one that is not known."""
    request = scheduler_pb2.ExplainRequest(instance_name=instance_name)
    if isinstance(subject, Digest):
        request.action_digest.CopyFrom(subject.to_message())
        request.digest_function = subject.function.number  # type: ignore[assignment]  # an enum's
    else:
        request.operation_name = subject
    reply = await channel.unary(EXPLAIN, request, timeout=timeout)
    has_other = reply.HasField("compared_with")
    return Explanation(
        lines=list(reply.lines),
        cache_state=reply.cache_state,
        cache_reason=reply.cache_reason,
        run_reason=reply.run_reason,
        differences=[
            Difference(one.kind, one.subject, one.earlier, one.now) for one in reply.differences
        ],
        notes=list(reply.notes),
        compared_with=_entry(reply.compared_with) if has_other else None,
        history=[_entry(one) for one in reply.history],
    )


async def list_history(
    channel: Channel, query: HistoryQuery, *, timeout: float | None = CALL_SECONDS
) -> list[HistoryEntry]:
    """The latest finished operations that `query` means."""
    request = scheduler_pb2.ListHistoryRequest(
        instance_name=query.instance_name,
        target=query.target,
        worker_id=query.worker,
        failed_only=query.failed,
        limit=query.limit,
    )
    if query.since is not None:
        request.finished_since.FromDatetime(query.since.astimezone(UTC).replace(tzinfo=None))
    reply = await channel.unary(LIST_HISTORY, request, timeout=timeout)
    return [_entry(one) for one in reply.entries]


def _entry(message: scheduler_pb2.HistoryEntry) -> HistoryEntry:
    function = parse_function(message.digest_function, len(message.action_digest.hash))
    has_duration = message.HasField("duration")
    return HistoryEntry(
        operation=message.operation_name,
        instance_name=message.instance_name,
        action_digest=parse_digest(message.action_digest, function),
        tenant=message.tenant,
        invocation=message.invocation,
        target=message.target,
        mnemonic=message.mnemonic,
        queued=_time(message, "queued_at"),
        started=_time(message, "started_at"),
        finished=_time(message, "finished_at"),
        duration_seconds=message.duration.ToMicroseconds() / 1e6 if has_duration else None,
        cache_state=message.cache_state,
        exit_code=message.exit_code,
        status_code=message.status_code,
        message=message.message,
        attempts=[
            Attempt(
                worker=one.worker_id,
                epoch=one.epoch,
                leased=_time(one, "leased_at"),
                reason=one.reason,
                end=one.end,
                ended=_time(one, "ended_at"),
            )
            for one in message.attempts
        ],
        usage=to_usage(message.usage) if message.HasField("usage") else None,
    )


def _time(message: Message, name: str) -> datetime | None:
    timestamp: Timestamp = getattr(message, name)
    return timestamp.ToDatetime(UTC) if message.HasField(name) else None
