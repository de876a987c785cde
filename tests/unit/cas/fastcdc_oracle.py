"""FastCDC 2020 at its plainest, byte by byte: what the fast implementation is compared with."""

import hashlib
from typing import NamedTuple

_UINT64 = (1 << 64) - 1

_GEAR = [
    int.from_bytes(hashlib.md5(bytes([value]) * 64, usedforsecurity=False).digest()[:8], "big")
    for value in range(256)
]

_MASKS = {
    10: 0x0000590003530000,
    12: 0x0000D90103530000,
    14: 0x0000D90313530000,
    16: 0x0000D90303537000,
    17: 0x0000D90703537000,
    21: 0x0000D91767537000,
}
"""By the binary logarithm of the size after which one byte matches on average."""

_NORMALIZATION_LEVEL = 2


class Cut(NamedTuple):
    """A chunk, and the gear value with which it ends."""

    offset: int
    length: int
    gear: int


def cut_all(data: bytes, avg: int, least: int, most: int, seed: int = 0) -> list[Cut]:
    """The cut points of `data`; `avg` is one of the sizes for which there are masks."""
    cuts: list[Cut] = []
    offset = 0
    while offset < len(data):
        length, gear = _next(data[offset : offset + most], avg, least, seed)
        cuts.append(Cut(offset, length, gear))
        offset += length
    return cuts


def _next(data: bytes, avg: int, least: int, seed: int) -> tuple[int, int]:
    if len(data) <= least:
        return len(data), 0
    bits = avg.bit_length() - 1
    gear = 0
    # The reference takes bytes in pairs and leaves out an odd one at the end.
    for position in range(least // 2 * 2, len(data) // 2 * 2):
        gear = ((gear << 1) + (_GEAR[data[position]] ^ seed)) & _UINT64
        is_short = position < avg
        mask = _MASKS[bits + (_NORMALIZATION_LEVEL if is_short else -_NORMALIZATION_LEVEL)]
        if not gear & mask:
            # It keeps the value of the first byte of a pair shifted, ready for the second one.
            return position, gear if position % 2 else gear << 1 & _UINT64
    return len(data), gear
