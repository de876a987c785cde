"""Cuts many blobs into calls of a bounded size."""

from collections.abc import Iterable, Iterator

from reapi.core.digest import Digest

OVERHEAD_BYTES = 128
"""Of a message, per blob: digest, status and framing. Many tiny blobs are mostly this (L2)."""

SURE_BATCH_BYTES = 1 << 20
"""Every server takes a batch of this size, so a smaller one is sent without asking first."""


def fits(digest: Digest, limit_bytes: int) -> bool:
    """Whether the blob alone fits into a batch."""
    return digest.size_bytes + OVERHEAD_BYTES <= limit_bytes


def cut_batches(digests: Iterable[Digest], limit_bytes: int) -> Iterator[list[Digest]]:
    """Parts, in order, whose blobs and their overhead are within the limit."""
    batch: list[Digest] = []
    room = limit_bytes
    for digest in digests:
        needed = digest.size_bytes + OVERHEAD_BYTES
        if needed > room and batch:
            yield batch
            batch, room = [], limit_bytes
        batch.append(digest)
        room -= needed
    if batch:
        yield batch
