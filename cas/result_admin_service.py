"""ResultAdminService: where results are from, and how bad ones are taken out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.core.cache_state import CacheState
from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.reapi.admin.v1 import admin_pb2

from .result_key import parse_result_key
from .state.interface import Removal, ResultQuery, ResultRow, ResultTable

_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["ResultAdminService"]
_ROWS_PER_RESPONSE = 500

Found = tuple[bytes, ResultRow, admin_pb2.StoredResult]


class ResultAdminService:
    """Answers from the table; rows of other kinds that are kept there are left alone."""

    def __init__(self, results: ResultTable, now: Callable[[], int]) -> None:
        self._results = results
        self._now = now

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE, {"ListResults": self.list_results, "RevokeResults": self.revoke_results}
        )

    async def list_results(
        self, request: admin_pb2.ListResultsRequest, call: Call
    ) -> AsyncGenerator[admin_pb2.ListResultsResponse, None]:
        """All that the query means."""
        async for batch in self._select(_parse_query(request.query)):
            yield admin_pb2.ListResultsResponse(results=[stored for _, _, stored in batch])

    async def revoke_results(
        self, request: admin_pb2.RevokeResultsRequest, call: Call
    ) -> AsyncGenerator[admin_pb2.RevokeResultsResponse, None]:
        """Removes what the query means, unless it is a dry run, and says what that is."""
        query = _parse_query(request.query)
        if query == ResultQuery():
            raise InvalidArgument("a query without a condition would revoke every result")
        async for batch in self._select(query):
            are_gone = [True] * len(batch)
            if not request.dry_run:
                removal = Removal(self._now(), CacheState.REVOKED)
                are_gone = await asyncio.gather(  # one commit for all of them
                    *(self._results.remove(key, row, removal) for key, row, _ in batch)
                )
            yield admin_pb2.RevokeResultsResponse(
                results=[
                    stored
                    for (_, _, stored), is_gone in zip(batch, are_gone, strict=True)
                    if is_gone  # else somebody has put another one in its place
                ]
            )

    async def _select(self, query: ResultQuery) -> AsyncIterator[Sequence[Found]]:
        after = b""
        while rows := await self._results.select(query, after, _ROWS_PER_RESPONSE):
            after = rows[-1][0]
            batch = []
            for key, row in rows:
                parsed = parse_result_key(key)
                if parsed is not None:
                    batch.append((key, row, _stored_result(*parsed, row)))
            if batch:
                yield batch


def _stored_result(instance_name: str, digest: Digest, row: ResultRow) -> admin_pb2.StoredResult:
    return admin_pb2.StoredResult(
        instance_name=instance_name,
        action_digest=digest.to_message(),
        digest_function=digest.function.name,
        stored_at=Timestamp(seconds=row.stored),
        worker=row.worker,
        writer=row.writer,
    )


def _parse_query(message: admin_pb2.ResultQuery) -> ResultQuery:
    def text(name: str) -> str | None:
        return getattr(message, name) if message.HasField(name) else None

    def seconds(name: str) -> int | None:
        return getattr(message, name).seconds if message.HasField(name) else None

    return ResultQuery(
        instance_name=text("instance_name"),
        worker=text("worker"),
        writer=text("writer"),
        since=seconds("stored_since"),
        until=seconds("stored_until"),
    )
