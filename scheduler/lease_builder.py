"""Makes the Lease that a worker gets: with the Action, the Command and the tree as far as it fits.

The directories travel along so that the worker need not ask for them level by level. They are the
best effort: what is missing, malformed or too much is left for the worker to find out and report.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, make_digest, parse_digest, parse_function
from reapi.core.errors import BlobsMissing, InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from reapi.protos.reapi.worker.v1.worker_pb2 import ConnectResponse, InlineBlob, Lease, LeaseKey

from .model import LeaseKey as Key
from .validation import check_size, parse_action


def action_digest_of(template: Lease) -> Digest:
    """The digest that a lease template carries; it was checked when the template was made."""
    message = template.action_digest
    return make_digest(message.hash, message.size_bytes, parse_function(template.digest_function))


class LeaseBuilder:
    """Completes lease templates with what the store has. `max_…` bound the inline directories."""

    def __init__(self, blobs: BlobStore, *, max_blob_bytes: int, max_directories: int) -> None:
        self._blobs = blobs
        self._max_blob_bytes = max_blob_bytes
        self._max_directories = max_directories

    def build_at_once(
        self, template: bytes, key: Key, at_hand: Mapping[Digest, bytes]
    ) -> ConnectResponse | None:
        """The lease, if all that belongs into it is `at_hand`; None if the store must be asked."""
        lease = Lease.FromString(template)
        action_digest = action_digest_of(lease)
        if action_digest not in at_hand:
            return None
        action, command_digest, input_root = parse_action(at_hand[action_digest], action_digest)
        if command_digest not in at_hand:
            return None
        lease.action.CopyFrom(action)
        _add_blob(lease, command_digest, at_hand[command_digest])
        if input_root.size_bytes:
            root = at_hand.get(input_root)
            if root is None or any(_children([(input_root, root)])):
                return None
            _add_blob(lease, input_root, root)
        return _wrap(lease, key)

    async def build(
        self, template: bytes, key: Key, at_hand: Mapping[Digest, bytes]
    ) -> ConnectResponse:
        """The lease. Raises BlobsMissing (EX7) when the Action or the Command has gone."""
        lease = Lease.FromString(template)
        action_digest = action_digest_of(lease)
        action_bytes = await self._get(action_digest, at_hand)
        action, command_digest, input_root = parse_action(action_bytes, action_digest)
        lease.action.CopyFrom(action)
        _add_blob(lease, command_digest, await self._get(command_digest, at_hand))
        for digest, data in (await self._read_tree(input_root, at_hand)).items():
            _add_blob(lease, digest, data)
        return _wrap(lease, key)

    async def _get(self, digest: Digest, at_hand: Mapping[Digest, bytes]) -> bytes:
        data = at_hand.get(digest)
        if data is None:
            check_size(digest, "blob")
            data = (await self._blobs.read_many([digest])).get(digest)
        if data is None:
            raise BlobsMissing([digest.subject])
        return data

    async def _read_tree(
        self, root: Digest, at_hand: Mapping[Digest, bytes]
    ) -> dict[Digest, bytes]:
        """The directories level by level from the root, each once, while they fit."""
        tree: dict[Digest, bytes] = {}
        seen: set[Digest] = set()
        room = self._max_blob_bytes
        level = [root] if root.size_bytes else []
        while level:
            wanted = []
            for digest in level:
                if (
                    digest not in seen
                    and digest.size_bytes <= room
                    and len(seen) < self._max_directories
                ):
                    seen.add(digest)
                    room -= digest.size_bytes
                    wanted.append(digest)
            found = {digest: at_hand[digest] for digest in wanted if digest in at_hand}
            absent = [digest for digest in wanted if digest not in found]
            if absent:
                found |= await self._blobs.read_many(absent)
            tree.update(found)
            level = list(_children(found.items()))
        return tree


def _children(directories: Iterable[tuple[Digest, bytes]]) -> Iterable[Digest]:
    for digest, data in directories:
        try:
            for node in Directory.FromString(data).directories:
                if node.digest.size_bytes:
                    yield parse_digest(node.digest, digest.function)
        except (DecodeError, InvalidArgument):
            # The worker will say what is wrong with it when it makes the tree.
            continue


def _add_blob(lease: Lease, digest: Digest, data: bytes) -> None:
    lease.blobs.append(InlineBlob(digest=digest.to_message(), data=data))


def _wrap(lease: Lease, key: Key) -> ConnectResponse:
    lease.key.CopyFrom(LeaseKey(operation_name=key[0], epoch=key[1]))
    return ConnectResponse(lease=lease)
