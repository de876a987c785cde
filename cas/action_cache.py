"""The ActionCache over rows with closures: a hit is complete, and stays so while promised."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, DigestFunction, digest_of, parse_digest
from reapi.core.errors import BlobsMissing, InvalidArgument, NotFound, ReapiError
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .capacity import Capacity
from .closure import closure_of, pack_closure, unpack_closure
from .presence import Presence
from .result_check import check_action_result, highest_climb, path_depth
from .result_key import result_key
from .result_lifetimes import ResultLifetimes
from .state.interface import ResultRow, ResultTable
from .write_health import STATE, WriteHealth

LARGEST_RESULT_BYTES = 4_000_000
"""Serialized. Clients mostly receive no more than 4 MiB (AC11)."""

_KNOWN_BYTES = 32 << 20
_KNOWN_OVERHEAD_BYTES = 1000


class _Known(NamedTuple):
    """A result whose closure was present and touched in `epoch`, as of `version` of its row."""

    result: ActionResult
    epoch: Hashable
    version: int
    stored: int
    cost_bytes: int


class IndexedActionCache:
    """See ActionCache. Complete results are kept in memory for the epoch in which they were so.

    `blobs_for` gives the store on account of an instance: bytes that come inline are its.
    """

    def __init__(
        self,
        *,
        table: ResultTable,
        blobs: BlobStore,
        blobs_for: Callable[[str], BlobStore],
        presence: Presence,
        capacity: Capacity,
        lifetimes: ResultLifetimes,
        health: WriteHealth,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._blobs_for = blobs_for
        self._lifetimes = lifetimes
        self._health = health
        self._presence = presence
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, Digest], _Known] = OrderedDict()
        self._known_bytes = 0

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """See ActionCache."""
        name = instance_name, action_digest
        key = result_key(instance_name, action_digest)
        version = await self._table.version(key)
        known = self._known.get(name)
        if (
            known is not None
            and known.version == version
            and known.epoch == self._presence.epoch()
            and known.stored >= self._lifetimes.first_valid(instance_name)
        ):
            self._known.move_to_end(name)
            return known.result
        return await self._get_stored(name, key, version)

    async def _get_stored(self, name: tuple[str, Digest], key: bytes, version: int) -> ActionResult:
        row = await self._table.find(key)
        if row is None:
            raise _absent(name[1])
        if row.stored < self._lifetimes.first_valid(name[0]):
            if row.stored < self._lifetimes.first_unexpired():
                await self._table.remove(key, row)
            raise _absent(name[1])
        epoch = self._presence.epoch()
        if await self._blobs.find_missing(unpack_closure(row.closure)):
            await self._table.remove(key, row)
            raise _absent(name[1])
        if row.used < self._presence.stamp():
            await self._table.touch(key, self._presence.stamp())
        result = ActionResult.FromString(row.action_result)
        self._remember(name, _Known(result, epoch, version, row.stored, _cost(row.action_result)))
        return result

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache. Bytes that came inline are moved into the CAS."""
        function = action_digest.function
        check_action_result(result, function)
        await self._check_climb(action_digest, result)
        stored = ActionResult()
        stored.CopyFrom(result)
        stored.execution_metadata.SetInParent()  # buck2 refuses a result without (Q-META)
        await self._move_inline_bytes(stored, function, self._blobs_for(instance_name))
        closure = await closure_of(self._blobs, stored, function)
        missing = await self._blobs.find_missing(closure)
        if missing:
            raise BlobsMissing([digest.subject for digest in missing])
        serialized = stored.SerializeToString(deterministic=True)
        if len(serialized) > LARGEST_RESULT_BYTES:
            raise InvalidArgument(
                f"a result of {len(serialized)} bytes; at most {LARGEST_RESULT_BYTES} are stored, "
                "since clients could not receive it: declare fewer outputs or a directory"
            )
        row = ResultRow(
            action_result=serialized,
            closure=pack_closure(closure),
            used=self._presence.stamp(),
            stored=self._presence.now(),
            instance_name=instance_name,
            worker=stored.execution_metadata.worker,
            writer=writer,
        )
        async with self._capacity.reserved(len(serialized) + len(row.closure), None):
            with self._health.watch(STATE):
                await self._table.put(result_key(instance_name, action_digest), row)
        return stored

    async def _check_climb(self, action_digest: Digest, result: ActionResult) -> None:
        """Paths with `..` are good while they stay in the input root (IN4, reliability B14)."""
        climb = highest_climb(result)
        if climb and climb > await self._working_directory_depth(action_digest):
            raise InvalidArgument("an output path or symlink target leads out of the input root")

    async def _working_directory_depth(self, action_digest: Digest) -> int:
        """0 when the action is not stored or unreadable: then no path may climb."""
        try:
            found = await self._blobs.read_many([action_digest])
            action = re_pb2.Action.FromString(found[action_digest])
            command_digest = parse_digest(action.command_digest, action_digest.function)
            found = await self._blobs.read_many([command_digest])
            command = re_pb2.Command.FromString(found[command_digest])
        except (KeyError, DecodeError, ReapiError):
            return 0
        return path_depth(command.working_directory)

    async def _move_inline_bytes(
        self, result: ActionResult, function: DigestFunction, store: BlobStore
    ) -> None:
        """Leaves digests only, so that a stored result is small (AC8)."""
        blobs: dict[Digest, bytes] = {}
        for file in result.output_files:
            if file.contents:
                digest = digest_of(file.contents, function)
                if digest != parse_digest(file.digest, function):
                    raise InvalidArgument(f"contents of {file.path!r} do not hash to its digest")
                blobs[digest] = file.contents
                file.ClearField("contents")
        for stream in ("stdout", "stderr"):
            data = getattr(result, f"{stream}_raw")
            if data:
                digest = digest_of(data, function)
                field = getattr(result, f"{stream}_digest")
                if result.HasField(f"{stream}_digest") and parse_digest(field, function) != digest:
                    raise InvalidArgument(f"{stream}_raw does not hash to {stream}_digest")
                field.CopyFrom(digest.to_message())
                blobs[digest] = data
                result.ClearField(f"{stream}_raw")
        for failure in (await store.write_many(blobs)).values():
            raise failure

    def _remember(self, name: tuple[str, Digest], known: _Known) -> None:
        self._forget(name)
        self._known[name] = known
        self._known_bytes += known.cost_bytes
        while self._known_bytes > _KNOWN_BYTES:
            _, dropped = self._known.popitem(last=False)
            self._known_bytes -= dropped.cost_bytes

    def _forget(self, name: tuple[str, Digest]) -> None:
        known = self._known.pop(name, None)
        if known is not None:
            self._known_bytes -= known.cost_bytes


def _cost(serialized: bytes) -> int:
    return 3 * len(serialized) + _KNOWN_OVERHEAD_BYTES


def _absent(action_digest: Digest) -> NotFound:
    return NotFound(f"no result for action {action_digest}")
