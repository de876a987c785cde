"""What is promised to stay, until when, and within which epoch a known presence holds.

All of it is a shortcut: without it every answer would be the same, only slower.
"""

from collections.abc import Callable, Hashable

_LONGEST_GRANULE_SECONDS = 3600
_GRANULES_PER_RETENTION = 24


class Presence:
    """The clock of retention promises, and the epoch of what is kept in memory.

    Time is cut into granules. A touch promises from the end of its granule on, so one touch per
    granule keeps the promise of every caller in it. `losses` is the index's: what is known to be
    present and touched in this granule still is, unless a blob was lost meanwhile.
    """

    def __init__(
        self, now: Callable[[], int], retention_seconds: int, losses: Callable[[], Hashable | None]
    ) -> None:
        self._now = now
        self._losses = losses
        self.granule_seconds = max(
            1, min(_LONGEST_GRANULE_SECONDS, retention_seconds // _GRANULES_PER_RETENTION)
        )
        self.retention_seconds = retention_seconds

    def now(self) -> int:
        """Seconds since 1970."""
        return self._now()

    def stamp(self) -> int:
        """What a touch writes into a row: the end of the present granule, in seconds."""
        now = self._now()
        return now - now % self.granule_seconds + self.granule_seconds

    def last_expired_stamp(self) -> int:
        """Rows touched with this stamp, or an earlier one, are promised to nobody any more."""
        return self._now() - self.retention_seconds

    def epoch(self) -> Hashable:
        """While this is the same, what was present and touched still is. Never the same as another
        when nobody can say."""
        losses = self._losses()
        return object() if losses is None else (self.stamp(), losses)
