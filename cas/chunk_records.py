"""Which chunks make a blob: rows in the table of action results.

There they are touched, counted and forgotten like results. The closure of a record is the blob and
its chunks, so 'is this still complete' is one query, as it is for a result.
"""

from collections.abc import Sequence
from typing import NamedTuple

from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ChunkingFunction,
    SplitBlobResponse,
)

from .closure import pack_closure, unpack_closure
from .presence import Presence
from .result_key import result_key
from .state.interface import ResultRow, ResultTable

CHUNK_RECORD_PREFIX = b"\xff"
"""Of the keys of these rows. That of a result begins with the number of its digest function, which
this is none of."""

LARGEST_RESPONSE_BYTES = 4_000_000
"""Of a SplitBlobResponse. Clients mostly receive no more than 4 MiB (L1)."""

_ENTRY_OVERHEAD_BYTES = 16
"""Of a digest in a response, beside its hash: tags, lengths and the size."""


class ChunkRecord(NamedTuple):
    """A serialized SplitBlobResponse, and what it needs: the blob, then each distinct chunk."""

    response: bytes
    needed: list[Digest]


class ChunkRecords:
    """One record a blob. What it says was true when it was put; whether the chunks are still there
    is for the caller to find out.
    """

    def __init__(self, results: ResultTable, presence: Presence) -> None:
        self._results = results
        self._presence = presence

    async def get(self, blob: Digest) -> ChunkRecord | None:
        """The record of `blob`, which counts as used now."""
        key = _key(blob)
        row = await self._results.find(key)
        if row is None:
            return None
        stamp = self._presence.stamp()
        if row.used < stamp:
            await self._results.touch(key, stamp)
        return ChunkRecord(row.action_result, unpack_closure(row.closure))

    async def put(
        self, blob: Digest, chunks: Sequence[Digest], function: "ChunkingFunction.Value"
    ) -> ChunkRecord:
        """Records that `chunks` in this order are `blob`, in place of what was recorded before.

        The caller has made sure of it, and of `most_chunks`.
        """
        response = response_of(chunks, function)
        needed = list(dict.fromkeys((blob, *chunks)))
        row = ResultRow(
            action_result=response,
            closure=pack_closure(needed),
            used=self._presence.stamp(),
            stored=self._presence.now(),
            instance_name="",
            worker="",
            writer="",
        )
        await self._results.put(_key(blob), row)
        return ChunkRecord(response, needed)


def most_chunks(function: DigestFunction) -> int:
    """How many digests a SplitBlobResponse has room for, whatever their sizes are."""
    return LARGEST_RESPONSE_BYTES // (2 * function.hash_bytes + _ENTRY_OVERHEAD_BYTES)


def response_of(chunks: Sequence[Digest], function: "ChunkingFunction.Value") -> bytes:
    """A serialized SplitBlobResponse."""
    return SplitBlobResponse(
        chunk_digests=[chunk.to_message() for chunk in chunks], chunking_function=function
    ).SerializeToString()


def check_chunking_function(number: int) -> None:
    """Raises InvalidArgument for a number that this version of the protocol does not have (G10)."""
    if number not in ChunkingFunction.Value.values():
        raise InvalidArgument(f"chunking function {number} is unknown; see GetCapabilities")


def _key(blob: Digest) -> bytes:
    return CHUNK_RECORD_PREFIX + result_key("", blob)
