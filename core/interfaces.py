"""Every interface at which components meet. READ THIS FIRST.

`cas`, `scheduler` and `executor` never import each other: they are given objects of these types by
server/compose.py. An implementation is proved by the contract suite of its interface in
tests/contracts/.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .cache_state import CacheFinding
from .digest import Digest
from .errors import ReapiError
from .identity import Identity
from .log_name import LogName


class BlobStore(Protocol):
    """Bytes by digest.

    Safe for concurrent use by tasks of one event loop. Digests passed in are valid already. The
    empty blob is always present, though never written (G3). A blob whose stored bytes turn out to
    be damaged counts as absent. What is said about cancelled writes is said of stores in this
    process: a server may still finish what it was asked for.
    """

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """Those that are absent, each once, in the order given.

        A blob found present stays readable for the retention time from now on (CAS2).
        """

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """The whole content of each blob that is present; absent ones are left out.

        For small blobs: all are in memory at once, so the caller bounds the sum of their sizes.
        """

    def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """The content from `offset` on, `limit` bytes of it at most, as chunks in order.

        0 <= offset <= size. Raises NotFound before the first chunk and never after it; DataLoss
        instead of the last chunk when the bytes do not hash to the digest, if all were read.
        """

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """Stores each blob, durably against the end of the process; returns the failures only.

        One bad blob (InvalidArgument: the bytes do not match their digest) fails none of the
        others. Writing a blob that is present is a success. A cancelled call has stored a blob, or
        never will.
        """

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """Stores one blob: all or nothing, visible and durable on return.

        Raises InvalidArgument when the bytes do not match the digest, ResourceExhausted when there
        is no room. Cancelling before the last chunk leaves nothing visible; later, the blob is
        there once the cancellation has come through, or this call never stores it. If the blob is
        present already, returns without necessarily taking all chunks.
        """


class ActionCache(Protocol):
    """Results by instance name and action digest. Safe for concurrent use."""

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """The result whose blobs are all present; they stay readable for the retention time (AC2).

        Raises NotFound when there is none, or when a blob that it needs is gone: ResultAbsent,
        which says why, where that is known. The message is shared with other callers: copy it
        before changing it.
        """

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """Stores a result in place of an earlier one, durably; returns it as stored (AC8).

        `writer` says who stores it, for those who ask later where a result is from.

        Raises InvalidArgument for a malformed result and FailedPrecondition (BlobsMissing) when a
        blob that it names is absent.
        """


class CacheInspector(Protocol):
    """Says why the ActionCache has a result or has none. Changes nothing."""

    async def explain(self, instance_name: str, action_digest: Digest) -> CacheFinding:
        """What `get` would find now: PRESENT, EXPIRED, PURGED, INCOMPLETE or ABSENT."""

    async def last_removal(self, instance_name: str, action_digest: Digest) -> CacheFinding | None:
        """Why and when a result was taken out: REVOKED, INCOMPLETE or EXPIRED. The last 10,000 of
        all actions are remembered, whatever was stored since.
        """


class OperationLogs(Protocol):
    """What the commands of operations print, while they run and after their end."""

    def read(
        self, name: LogName, offset: int, call: "Call"
    ) -> AsyncGenerator[bytes | Digest, None]:
        """What is printed from `offset` on, until the operation ends.

        An empty chunk says that all was given that was printed by now; it is repeated now and then
        while nothing more is. A digest is the last word: that blob is the whole log, from which
        the rest is to be read; without one nothing is left of it. Raises NotFound when the
        operation is not known in this instance. `call` is the one that is answered by it.

        An action that is run once more because its worker was lost may print something else the
        second time; the stream goes on at its offset.
        """


class Call(Protocol):
    """What a handler may know about the call that it serves. Ended calls cancel their handler."""

    @property
    def peer(self) -> str:
        """The address of the other side, for logs."""

    @property
    def identity(self) -> Identity:
        """Who calls: EVERYBODY where nobody is asked."""

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """Request metadata by lowercase key. Texts of equal keys are joined by commas, as HTTP has
        it; of equal binary ones the last counts."""

    @property
    def seconds_left(self) -> float | None:
        """Until the caller's deadline; None when it set none."""
