"""What surely is not stored, without a query."""

from typing import Protocol

FILTER_BYTES = 1 << 25
"""A bit for each number of 28 bits, which is seven hexadecimal digits."""

_LOW_28_BITS = (1 << 28) - 1


class AbsenceFilter(Protocol):
    """Sorts out what cannot be there."""

    def possible_keys(self, keys: list[bytes]) -> list[bytes]:
        """Those index keys that may be stored: one byte of function, then the hash."""

    def possible_texts(self, texts: list[bytes], hash_start: int) -> list[bytes]:
        """Those texts that may be stored, which hold their hash in hexadecimal at `hash_start`."""


class NoFilter:
    """An AbsenceFilter for where nobody can say: everything is possible."""

    def possible_keys(self, keys: list[bytes]) -> list[bytes]:
        """See AbsenceFilter."""
        return keys

    def possible_texts(self, texts: list[bytes], hash_start: int) -> list[bytes]:
        """See AbsenceFilter."""
        return texts


class HashFilter:
    """Two bits per hash, for its first 28 bits and the next 28; if one is clear, it is not stored.

    Hashes are uniform, so with ten million blobs 99 of 100 absent ones are known to be absent
    without a query. Until `is_complete`, once every stored hash was added, a clear bit means
    nothing.
    """

    def __init__(self, bits: memoryview, complete: memoryview) -> None:
        self._bits = bits
        self._complete = complete

    def release(self) -> None:
        """Lets go of the memory."""
        self._bits.release()
        self._complete.release()

    @property
    def is_complete(self) -> bool:
        """Whether every stored hash has its bit."""
        return bool(self._complete[0])

    def complete(self) -> None:
        """Every stored hash was added."""
        self._complete[0] = 1

    def add_keys(self, keys: list[bytes]) -> None:
        """Sets the bits of index keys. Under the write lock of the index, since a bit is set by
        writing eight."""
        bits = self._bits
        from_bytes = int.from_bytes
        for key in keys:
            first = from_bytes(key[1:5], "big") >> 4
            bits[first >> 3] |= 1 << (first & 7)
            second = from_bytes(key[4:8], "big") & _LOW_28_BITS
            bits[second >> 3] |= 1 << (second & 7)

    def possible_keys(self, keys: list[bytes]) -> list[bytes]:
        """See AbsenceFilter."""
        if not self.is_complete:
            return keys
        bits = self._bits
        from_bytes = int.from_bytes
        found = []
        for key in keys:
            first = from_bytes(key[1:5], "big") >> 4
            if bits[first >> 3] >> (first & 7) & 1:
                second = from_bytes(key[4:8], "big") & _LOW_28_BITS
                if bits[second >> 3] >> (second & 7) & 1:
                    found.append(key)
        return found

    def possible_texts(self, texts: list[bytes], hash_start: int) -> list[bytes]:
        """See AbsenceFilter."""
        if not self.is_complete:
            return texts
        bits = self._bits
        middle, end = hash_start + 7, hash_start + 14
        found = []
        for text in texts:
            first = int(text[hash_start:middle], 16)
            if bits[first >> 3] >> (first & 7) & 1:
                second = int(text[middle:end], 16)
                if bits[second >> 3] >> (second & 7) & 1:
                    found.append(text)
        return found
