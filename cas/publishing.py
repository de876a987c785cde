"""Which blobs have their file already and their row not yet."""

from collections import Counter


class Publishing:
    """Keys between the rename and the commit: whoever deletes files without a row spares them."""

    def __init__(self) -> None:
        self._keys: Counter[bytes] = Counter()

    def begin(self, key: bytes) -> None:
        """The file is about to get its name."""
        self._keys[key] += 1

    def end(self, key: bytes) -> None:
        """The row is committed, or will never be."""
        self._keys[key] -= 1
        if not self._keys[key]:
            del self._keys[key]

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys
