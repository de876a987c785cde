"""What is promised to stay, until when, and what surely is not there: the memory of the index.

All of it is a shortcut: without it every answer would be the same, only slower.
"""

from collections.abc import Callable, Iterable

_LONGEST_GRANULE_SECONDS = 3600
_GRANULES_PER_RETENTION = 24
_PREFIX_DIGITS = 6


class HashFilter:
    """One flag per prefix of a hash; a clear one says that no stored hash begins like that.

    Hashes are uniform, so with a million blobs 94 of 100 absent ones are known to be absent without
    a query. Flags are only ever set, so setting them from several threads needs no lock. Until
    `is_complete` is set, once every stored hash was added, a clear flag means nothing.
    """

    def __init__(self) -> None:
        self._flags = bytearray(16**_PREFIX_DIGITS)
        self.is_complete = False

    def add_keys(self, keys: Iterable[bytes]) -> None:
        """Sets the flags of index keys: one byte of function, then the hash."""
        flags = self._flags
        from_bytes = int.from_bytes
        for key in keys:
            flags[from_bytes(key[1:4], "big")] = 1

    def possible_keys(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those index keys that may be stored."""
        if not self.is_complete:
            return list(keys)
        flags = self._flags
        from_bytes = int.from_bytes
        return [key for key in keys if flags[from_bytes(key[1:4], "big")]]

    def possible_texts(self, texts: Iterable[bytes], hash_start: int) -> list[bytes]:
        """Those texts that may be stored, which hold their hash in hexadecimal at `hash_start`."""
        if not self.is_complete:
            return list(texts)
        flags = self._flags
        end = hash_start + _PREFIX_DIGITS
        return [text for text in texts if flags[int(text[hash_start:end], 16)]]


class Presence:
    """The clock of retention promises, and the epoch within which a known presence holds.

    Time is cut into granules. A touch promises from the end of its granule on, so one touch per
    granule keeps the promise of every caller in it.
    """

    def __init__(self, now: Callable[[], int], retention_seconds: int) -> None:
        self._now = now
        self._granule = max(
            1, min(_LONGEST_GRANULE_SECONDS, retention_seconds // _GRANULES_PER_RETENTION)
        )
        self._losses = 0
        self.retention_seconds = retention_seconds
        self.filter = HashFilter()

    def now(self) -> int:
        """Seconds since 1970."""
        return self._now()

    def stamp(self) -> int:
        """What a touch writes into a row: the end of the present granule, in seconds."""
        now = self._now()
        return now - now % self._granule + self._granule

    def last_expired_stamp(self) -> int:
        """Rows touched with this stamp, or an earlier one, are promised to nobody any more."""
        return self._now() - self.retention_seconds

    def epoch(self) -> tuple[int, int]:
        """While this is the same, what was present and touched still is."""
        return self.stamp(), self._losses

    def lost(self) -> None:
        """A blob went away before its time: forget all that is known to be present."""
        self._losses += 1
