"""A number of blobs and of their bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

from reapi.core.digest import Digest


@dataclass(slots=True)
class Tally:
    """Grows with `add`."""

    count: int = 0
    size_bytes: int = 0

    def add(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            self.count += 1
            self.size_bytes += digest.size_bytes
