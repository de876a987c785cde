"""SHA256TREE: SHA-256 of 1024-byte chunks, joined pair by pair in a binary tree (D9).

A node is one raw SHA-256 compression of the hashes of its two halves, with an initial state of its
own and no addition at the end. hashlib offers no such compression, so nodes are computed here.
"""

import hashlib
from struct import pack, unpack

_CHUNK_BYTES = 1024
_HASH_BYTES = 32
_BLOCK_BYTES = 2 * _HASH_BYTES

_NODES_AT_ONCE = 256
"""The more, the cheaper each; beyond this there is little to gain."""

_INITIAL_STATE = (
    *(0xCBBB9D5D, 0x629A292A, 0x9159015A, 0x152FECD8),
    *(0x67332667, 0x8EB44A87, 0xDB0C2E0D, 0x47B5481D),
)
"""The square roots of the 9th to the 16th prime: the first 32 bits behind the point."""

_ROUND_CONSTANTS = (
    *(0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4),
    *(0xAB1C5ED5, 0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE),
    *(0x9BDC06A7, 0xC19BF174, 0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F),
    *(0x4A7484AA, 0x5CB0A9DC, 0x76F988DA, 0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7),
    *(0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967, 0x27B70A85, 0x2E1B2138, 0x4D2C6DFC),
    *(0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85, 0xA2BFE8A1, 0xA81A664B),
    *(0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070, 0x19A4C116),
    *(0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3),
    *(0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7),
    0xC67178F2,
)
"""Those of SHA-256: the cube roots of the first 64 primes, likewise."""


class Sha256Tree:
    """A hasher with the interface of hashlib's objects.

    Holds at most 16 KiB per level of the tree. Takes some 5 ms per MiB, a tenth of the speed of
    SHA-256, and all of it under the interpreter's lock: what fits into a batch may be hashed on an
    event loop, more belongs into a thread, in parts.
    """

    def __init__(self) -> None:
        self._chunk = bytearray()
        # Hashes of whole subtrees, leaves first, that have not found their right half yet.
        self._levels: list[bytearray] = [bytearray()]

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Takes the next bytes."""
        view = memoryview(data).cast("B")
        if self._chunk:
            room = _CHUNK_BYTES - len(self._chunk)
            self._chunk += view[:room]
            view = view[room:]
            if len(self._chunk) < _CHUNK_BYTES:
                return
            self._add_leaf(self._chunk)
            self._chunk.clear()
        whole = len(view) - len(view) % _CHUNK_BYTES
        for start in range(0, whole, _CHUNK_BYTES):
            self._add_leaf(view[start : start + _CHUNK_BYTES])
        self._chunk += view[whole:]

    def digest(self) -> bytes:
        """The hash of all bytes so far; more may follow."""
        levels = [bytes(level) for level in self._levels]
        if self._chunk or not any(levels):  # the empty blob is a chunk, too
            levels[0] += hashlib.sha256(self._chunk).digest()
        return _root(levels)

    def hexdigest(self) -> str:
        """As `digest`, in lowercase hexadecimal."""
        return self.digest().hex()

    def _add_leaf(self, chunk: bytearray | memoryview) -> None:
        hashes = hashlib.sha256(chunk).digest()
        for level in self._levels:
            level += hashes
            if len(level) < _NODES_AT_ONCE * _BLOCK_BYTES:
                return
            hashes = _nodes(level)
            level.clear()
        self._levels.append(bytearray(hashes))


def _root(levels: list[bytes]) -> bytes:
    """Joins what is left, from the leaves up. All levels are whole but for their right edge."""
    pending = b""  # what the pairs of the level below became
    edge = b""  # the subtree at the right edge, smaller than the others of its level
    while levels or pending:
        hashes = (levels.pop(0) if levels else b"") + pending
        paired = len(hashes) - len(hashes) % _BLOCK_BYTES
        odd = hashes[paired:]
        pending = _nodes(hashes[:paired]) if paired else b""
        edge = _nodes(odd + edge) if odd and edge else odd or edge
    return edge


def _nodes(blocks: bytes | bytearray) -> bytes:
    """Compresses each block of two hashes to the hash of their node.

    All blocks at once: an integer holds the same word of every block, each in a lane of 64 bits.
    What overflows stays in the upper half of its lane until it is masked away, and a word that is
    copied into that half is rotated by a mere shift.
    """
    count = len(blocks) // _BLOCK_BYTES
    ones = int.from_bytes(pack(f"<{count}Q", *[1] * count), "little")
    mask = ones * 0xFFFFFFFF
    words = unpack(f">{16 * count}I", blocks)
    schedule = [
        int.from_bytes(pack(f"<{count}Q", *words[index::16]), "little") for index in range(16)
    ]
    for index in range(16, 64):
        early, late = schedule[index - 15], schedule[index - 2]
        early2, late2 = early | early << 32, late | late << 32
        sigma0 = (early2 >> 7 ^ early2 >> 18 ^ early >> 3) & mask
        sigma1 = (late2 >> 17 ^ late2 >> 19 ^ late >> 10) & mask
        schedule.append(schedule[index - 16] + sigma0 + schedule[index - 7] + sigma1 & mask)
    a, b, c, d, e, f, g, h = (ones * word for word in _INITIAL_STATE)
    for constant, word in zip(_ROUND_CONSTANTS, schedule, strict=True):
        a2, e2 = a | a << 32, e | e << 32
        sum1 = (e2 >> 6 ^ e2 >> 11 ^ e2 >> 25) & mask
        into_e = h + sum1 + (g ^ e & (f ^ g)) + word + ones * constant
        sum0 = (a2 >> 2 ^ a2 >> 13 ^ a2 >> 22) & mask
        into_a = into_e + sum0 + (a & b | c & (a | b))
        a, b, c, d, e, f, g, h = into_a & mask, a, b, c, d + into_e & mask, e, f, g
    columns = [
        unpack(f"<{count}Q", word.to_bytes(8 * count, "little"))
        for word in (a, b, c, d, e, f, g, h)
    ]
    return b"".join([pack(">8I", *row) for row in zip(*columns, strict=True)])
