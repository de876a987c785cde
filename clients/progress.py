"""Counts what a transfer has done, and tells whoever wants to know."""

from collections.abc import Callable, Collection

from reapi.core.digest import Digest

from .model import Progress

OnProgress = Callable[[Progress], None]


class TransferMeter:
    """The progress of one transfer of `digests`; tells its start at once, then each step."""

    def __init__(self, digests: Collection[Digest], on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        size_bytes = sum(digest.size_bytes for digest in digests)
        self.progress = Progress(0, len(digests), 0, size_bytes)
        self.advance(())

    def advance(self, digests: Collection[Digest]) -> None:
        """Counts blobs that are done."""
        before = self.progress
        self.progress = Progress(
            before.blobs_done + len(digests),
            before.blobs_total,
            before.bytes_done + sum(digest.size_bytes for digest in digests),
            before.bytes_total,
        )
        if self._on_progress is not None:
            self._on_progress(self.progress)
