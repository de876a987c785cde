"""Owned points on a circle of 64 bits, in an order that is cheap to search and to change."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator

_MASK = (1 << 64) - 1
_MOST_IN_BLOCK = 512


class Circle:
    """Points (position, owner) in their order, cut into blocks of a bounded length.

    A search is two bisections, and a change moves one block, not all. Points at one position are in
    the order of their owners, so the order of changes never matters.
    """

    def __init__(self) -> None:
        self._positions = [array("Q")]
        self._owners: list[list[str]] = [[]]
        # Between each two blocks: no position before is higher, none behind is lower.
        self._borders: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._owners[0])

    def add(self, position: int, owner: str) -> None:
        block, offset = self._find(position, owner)
        positions, owners = self._positions[block], self._owners[block]
        positions.insert(offset, position)
        owners.insert(offset, owner)
        if len(owners) > _MOST_IN_BLOCK:
            half = len(owners) // 2
            self._positions.insert(block + 1, positions[half:])
            self._owners.insert(block + 1, owners[half:])
            self._borders.insert(block, positions[half])
            del positions[half:], owners[half:]

    def remove(self, position: int, owner: str) -> None:
        """Takes out a point; it has to be there."""
        block, offset = self._find(position, owner)
        positions, owners = self._positions[block], self._owners[block]
        del positions[offset], owners[offset]
        if not owners and self._borders:
            del self._positions[block], self._owners[block]
            del self._borders[max(block - 1, 0)]

    def nearest(self, position: int) -> tuple[int, str]:
        """The first point at `position` or clockwise from there: how far it is, and its owner.

        The circle must not be empty.
        """
        block = bisect_left(self._borders, position)
        positions = self._positions[block]
        offset = bisect_left(positions, position)
        if offset == len(positions):
            block = block + 1 if block < len(self._borders) else 0
            positions = self._positions[block]
            offset = 0
        return (positions[offset] - position) & _MASK, self._owners[block][offset]

    def clockwise(self, position: int) -> Iterator[tuple[int, str]]:
        """All points from `position` on, once around, as `nearest` gives the first."""
        first = bisect_left(self._borders, position)
        start = bisect_left(self._positions[first], position)
        blocks = len(self._owners)
        for step in range(blocks + 1):
            block = (first + step) % blocks
            begin = start if step == 0 else 0
            end = start if step == blocks else len(self._owners[block])
            positions, owners = self._positions[block], self._owners[block]
            for offset in range(begin, end):
                yield (positions[offset] - position) & _MASK, owners[offset]

    def _find(self, position: int, owner: str) -> tuple[int, int]:
        """The block and the offset in it where this point is or belongs."""
        block = bisect_left(self._borders, position)
        offset = bisect_left(self._positions[block], position)
        while True:
            positions, owners = self._positions[block], self._owners[block]
            if offset == len(owners):
                if block == len(self._borders) or self._borders[block] != position:
                    return block, offset
                block, offset = block + 1, 0
            elif positions[offset] == position and owners[offset] < owner:
                offset += 1
            else:
                return block, offset
