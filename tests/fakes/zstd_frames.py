"""zstd streams as only odd or hostile clients make them."""

from functools import cache

import zstandard


@cache
def bomb(size_bytes: int) -> bytes:
    """One frame of that many zero bytes, a multiple of 1 MiB; 32 KiB for 1 GiB."""
    stream = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 20)
    parts = [stream.compress(zeros) for _ in range(size_bytes >> 20)]
    return b"".join(parts) + stream.flush()


def wide_window_frame(data: bytes, window_bytes_log2: int) -> bytes:
    """A frame that asks its reader for so large a window; it does not say its size."""
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=1, window_log=window_bytes_log2
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(data) + stream.flush()


def dictionary_frame(data: bytes) -> bytes:
    """A frame that cannot be read without a dictionary, whose id it carries."""
    samples = [
        b"sample %d of what the dictionary is made of; " % number * 3 for number in range(300)
    ]
    dictionary = zstandard.train_dictionary(2000, samples)
    assert dictionary.dict_id()
    return zstandard.ZstdCompressor(dict_data=dictionary).compress(data)


def open_ended_frame(data: bytes) -> bytes:
    """A frame with all of `data` in it and no last block."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def skippable_frame(data: bytes, claimed_bytes: int | None = None) -> bytes:
    """A frame that readers pass over; it may claim to be longer than it is."""
    size = len(data) if claimed_bytes is None else claimed_bytes
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + data
