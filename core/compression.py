"""The zstd codec of wire and store, bounded: the only file that knows the zstd library.

What comes in is hostile: nothing here holds more than it was asked for, whatever a stream claims.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Generic, Protocol, TypeVar

import zstandard

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Compressor

from .errors import InvalidArgument

COMPRESSORS: Mapping[str, Compressor.Value] = {"zstd": Compressor.ZSTD}
"""The numbers of those that are served, by their segment in resource names; identity is none."""

PIECE_BYTES = 1 << 20
"""What a decompressor returns at most, unless it is asked for less."""

LARGEST_WINDOW_BYTES = 8 << 20
"""Of a stream from outside; as much memory is taken for it (reliability B10)."""

LARGEST_FILE_WINDOW_BYTES = 128 << 20
"""Of a file that its owner reads: what `zstd --long` makes."""

_KEPT_CONTEXTS = 4
_LARGEST_KEPT_BYTES = 4 << 20


class _Sized(Protocol):
    def memory_size(self) -> int: ...


_Context = TypeVar("_Context", bound=_Sized)


class _Contexts(Generic[_Context]):
    """Contexts that nobody uses: a new one costs more than all work on a small blob.

    For all threads. A context that is never given back is freed with its last user.
    """

    def __init__(self, make: Callable[[], _Context]) -> None:
        self._make = make
        self._idle: list[_Context] = []

    def take(self) -> _Context:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give_back(self, context: _Context) -> None:
        if len(self._idle) < _KEPT_CONTEXTS and context.memory_size() <= _LARGEST_KEPT_BYTES:
            self._idle.append(context)


class Profile:
    """How much effort compression is worth."""

    def __init__(self, level: int, window_bytes_log2: int) -> None:
        # Only these two are said: the library fits all others to the size of the blob.
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=level, window_log=window_bytes_log2
        )
        self.contexts = _Contexts(lambda: zstandard.ZstdCompressor(compression_params=parameters))


WIRE = Profile(level=1, window_bytes_log2=19)
"""Takes 1.4 MiB while it works."""

AT_REST = Profile(level=3, window_bytes_log2=20)
"""Takes 2.6 MiB while it works: 11 % smaller and a third slower than WIRE."""

_DECOMPRESSORS = _Contexts(lambda: zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW_BYTES))

_MARK = secrets.token_bytes(16)
_MARK_FRAME = zstandard.ZstdCompressor().compress(_MARK)


class _Starved(Exception):
    """All input is used up, and more may come."""


class _Source:
    """The file that the library reads a stream from, one piece of input after the other."""

    def __init__(self) -> None:
        self.data: bytes | memoryview | None = None

    def read(self, size: int) -> bytes | memoryview:
        data, self.data = self.data, None
        if data is None:
            raise _Starved
        return data


class ZstdDecompressor:
    """The plain bytes of one zstd stream, exactly `size_bytes` of them, while the stream comes.

    A stream is any number of frames in a row, skippable ones among them (Z1). One call at a time,
    each from any thread; after an error no other call makes sense.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._left_bytes = size_bytes
        self._context = _DECOMPRESSORS.take()
        self._source = _Source()
        self._reader = self._context.stream_reader(
            self._source,  # type: ignore[arg-type]  # read() is all that is asked of it
            read_across_frames=True,
        )

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes of the stream, once `read` has returned nothing."""
        assert self._source.data is None, "earlier input is unread"
        if len(data):  # an empty read would mean the end to the library
            self._source.data = data

    def read(self, limit: int = PIECE_BYTES) -> bytes:
        """The next plain bytes, at most `limit`; nothing when more of the stream has to be fed.

        The last block before that, up to 128 KiB, may come only with what is fed next.
        Raises InvalidArgument for a damaged stream, for one that needs a dictionary or too large a
        window, and at the first byte past the size.
        """
        try:
            piece = self._reader.read1(min(limit, self._left_bytes + 1))
        except _Starved:
            return b""
        except zstandard.ZstdError as error:
            raise InvalidArgument(
                f"bad zstd stream: {error}; served are windows up to {LARGEST_WINDOW_BYTES} bytes, "
                "and no dictionaries"
            ) from error
        if len(piece) > self._left_bytes:
            raise InvalidArgument(f"the zstd stream holds more than {self._size_bytes} bytes")
        self._left_bytes -= len(piece)
        return piece

    def finish(self) -> None:
        """The stream is over and all read; InvalidArgument unless it is whole, in all its bytes."""
        if self._left_bytes:
            raise InvalidArgument(
                f"the zstd stream holds {self._size_bytes - self._left_bytes} bytes "
                f"instead of {self._size_bytes}"
            )
        if not self._ends_with_a_frame():
            raise InvalidArgument("the zstd stream ends within a frame, or with other bytes")
        _DECOMPRESSORS.give_back(self._context)

    def _ends_with_a_frame(self) -> bool:
        """Whether one more frame could follow, which the library tells in no other way.

        The content of that frame is random: no unfinished frame can be made to look like it.
        """
        self.feed(_MARK_FRAME)
        found = b""
        try:
            while len(found) <= len(_MARK):
                found += self._reader.read1(len(_MARK) + 1)
        except _Starved:
            return found == _MARK
        except zstandard.ZstdError:
            pass
        return False


class ZstdCompressor:
    """One zstd frame of exactly `size_bytes` plain bytes, made while these come.

    One call at a time, each from any thread. What a call returns is little longer than its input.
    """

    def __init__(self, size_bytes: int, profile: Profile = WIRE) -> None:
        self._contexts = profile.contexts
        self._context = self._contexts.take()
        self._stream = self._context.compressobj(size=size_bytes)

    def compress(self, data: bytes | memoryview) -> bytes:
        """What is ready of the frame once `data` is in; often nothing."""
        return self._stream.compress(data)

    def flush(self) -> bytes:
        """All that is left to say of the bytes that are in; costs some compression."""
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        """The end of the frame, when all bytes are in."""
        end = self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)
        self._contexts.give_back(self._context)
        return end


def decompressed_file(file: BinaryIO) -> Iterator[bytes]:
    """The plain bytes of the zstd frames in a file, in pieces; they may be any number.

    A file that is cut short ends early. Raises InvalidArgument for a damaged one.
    """
    reader = zstandard.ZstdDecompressor(max_window_size=LARGEST_FILE_WINDOW_BYTES).stream_reader(
        file, read_across_frames=True
    )
    try:
        while piece := reader.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        raise InvalidArgument(f"bad zstd stream: {error}") from error


def longest_frame_bytes(size_bytes: int) -> int:
    """How long a frame of a ZstdCompressor can become, of bytes that do not compress at all."""
    return size_bytes + (size_bytes >> 8) + 1024


def compress_blob(data: bytes) -> bytes:
    """The frame of a blob that is in memory whole."""
    context = WIRE.contexts.take()
    compressed = context.compress(data)
    WIRE.contexts.give_back(context)
    return compressed


def decompress_blob(data: bytes, size_bytes: int) -> bytes:
    """The plain bytes of a whole stream, exactly `size_bytes`; InvalidArgument if it is not so."""
    decompressor = ZstdDecompressor(size_bytes)
    decompressor.feed(data)
    pieces = []
    while piece := decompressor.read():
        pieces.append(piece)
    decompressor.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
