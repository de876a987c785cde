"""Cached results by where they are from: list them, revoke them."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.core.digest import parse_digest, parse_function
from reapi.protos.reapi.admin.v1 import admin_pb2

from .channel import Channel
from .methods import LIST_RESULTS, REVOKE_RESULTS
from .model import ResultQuery, StoredResult


async def list_results(channel: Channel, query: ResultQuery) -> AsyncGenerator[StoredResult, None]:
    """All results that `query` means."""
    request = admin_pb2.ListResultsRequest(query=_to_message(query))
    async for reply in channel.server_stream(LIST_RESULTS, request):
        for result in reply.results:
            yield _stored_result(result)


async def revoke_results(
    channel: Channel, query: ResultQuery, *, dry_run: bool
) -> AsyncGenerator[StoredResult, None]:
    """Those that were revoked, as they are; with `dry_run`, those that would be."""
    request = admin_pb2.RevokeResultsRequest(query=_to_message(query), dry_run=dry_run)
    async for reply in channel.server_stream(REVOKE_RESULTS, request):
        for result in reply.results:
            yield _stored_result(result)


def _to_message(query: ResultQuery) -> admin_pb2.ResultQuery:
    return admin_pb2.ResultQuery(
        instance_name=query.instance_name,
        worker=query.worker,
        writer=query.writer,
        stored_since=_timestamp(query.since),
        stored_until=_timestamp(query.until),
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    return None if time is None else Timestamp(seconds=int(time.timestamp()))


def _stored_result(message: admin_pb2.StoredResult) -> StoredResult:
    function = parse_function(message.digest_function, len(message.action_digest.hash))
    return StoredResult(
        instance_name=message.instance_name,
        action_digest=parse_digest(message.action_digest, function),
        stored=message.stored_at.ToDatetime(UTC),
        worker=message.worker,
        writer=message.writer,
    )
