"""Digests and digest functions: the only parsers and validators of them.

Below the services nobody validates again: a Digest made by `parse_digest` or `digest_of` is valid.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .errors import InvalidArgument

LARGEST_SIZE_BYTES = 2**53
"""A size above this is a mistake or an attack; JSON and floats could not even hold it."""


class Hasher(Protocol):
    """What hashlib objects are."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False)  # one object each: hashed as often as digests are
class DigestFunction:
    """One digest function of the protocol.

    `number` is its value in DigestFunction.Value, `hash_bytes` the length of its output, and
    `is_inferred` says that it is meant when only the length of a hash is known (D2). Functions that
    are not inferred stand as a lowercase segment in resource names and in subjects (D3).
    """

    name: str
    number: int
    hash_bytes: int
    new: Callable[[], Hasher]
    is_inferred: bool

    @property
    def segment(self) -> str:
        """The path segment with its slash, or nothing for an inferred function."""
        return "" if self.is_inferred else f"{self.name.lower()}/"


SHA256 = DigestFunction("SHA256", re_pb2.DigestFunction.SHA256, 32, hashlib.sha256, True)

DIGEST_FUNCTIONS = (SHA256,)
"""Those that this build can compute, the default one first."""

_BY_NUMBER = {function.number: function for function in DIGEST_FUNCTIONS}
_INFERRED = {
    2 * function.hash_bytes: function for function in DIGEST_FUNCTIONS if function.is_inferred
}
_HEX = re.compile(r"[0-9a-f]+\Z", re.ASCII)


class Digest(NamedTuple):
    """The name of a blob: lowercase hex hash, size of the content in bytes, digest function."""

    hash: str
    size_bytes: int
    function: DigestFunction = SHA256

    @property
    def key(self) -> bytes:
        """Function and hash, as short as can be: the key of every index (D11)."""
        return bytes((self.function.number,)) + bytes.fromhex(self.hash)

    @property
    def subject(self) -> str:
        """`blobs/[function/]hash/size`, as PreconditionFailure and ByteStream write it."""
        return f"blobs/{self.function.segment}{self.hash}/{self.size_bytes}"

    def to_message(self) -> re_pb2.Digest:
        """The digest on the wire, which does not carry the function."""
        return re_pb2.Digest(hash=self.hash, size_bytes=self.size_bytes)

    def __str__(self) -> str:
        return f"{self.hash}/{self.size_bytes}"


def function_of_number(number: int) -> DigestFunction:
    """The function with that value in DigestFunction.Value; KeyError for one that is not served."""
    return _BY_NUMBER[number]


def digest_of_key(key: bytes, size_bytes: int) -> Digest:
    """The digest whose `key` this is."""
    return Digest(key[1:].hex(), size_bytes, _BY_NUMBER[key[0]])


EMPTY_HASHES = {function: function.new().hexdigest() for function in DIGEST_FUNCTIONS}
"""The hash of the empty blob, which exists always and everywhere (G3)."""


def digest_of(data: bytes | bytearray | memoryview, function: DigestFunction = SHA256) -> Digest:
    """Hashes `data`, which is in memory whole."""
    hasher = function.new()
    hasher.update(data)
    return Digest(hasher.hexdigest(), len(data), function)


def parse_function(number: int, hash_length: int | None = None) -> DigestFunction:
    """The function that a request states, or that the hex length of its first hash implies (D2).

    A request that states none and has no hash means the default function. Raises InvalidArgument
    for a function that is not announced (D4).
    """
    if number == re_pb2.DigestFunction.UNKNOWN:
        if hash_length is None:
            return SHA256
        inferred = _INFERRED.get(hash_length)
        if inferred is None:
            raise InvalidArgument(
                f"no digest function here has hashes of {hash_length} characters; {_announced()}"
            )
        return inferred
    function = _BY_NUMBER.get(number)
    if function is None:
        names = {value: name for name, value in re_pb2.DigestFunction.Value.items()}
        raise InvalidArgument(
            f"digest function {names.get(number, number)} is not served; {_announced()}"
        )
    return function


def parse_digest(message: re_pb2.Digest, function: DigestFunction = SHA256) -> Digest:
    """Checks a digest from outside (G1, G2, G4); raises InvalidArgument."""
    return make_digest(message.hash, message.size_bytes, function)


def make_digest(hash_text: str, size_bytes: int, function: DigestFunction = SHA256) -> Digest:
    """A Digest of parts from outside; raises InvalidArgument when they cannot be one."""
    if len(hash_text) != 2 * function.hash_bytes or not _HEX.match(hash_text):
        shown = hash_text if len(hash_text) <= 140 else hash_text[:140] + "…"
        raise InvalidArgument(
            f"{shown!r} is not a {function.name} hash: "
            f"expected {2 * function.hash_bytes} lowercase hexadecimal digits"
        )
    if not 0 <= size_bytes <= LARGEST_SIZE_BYTES:
        raise InvalidArgument(f"digest {hash_text} has the impossible size {size_bytes}")
    if (size_bytes == 0) != (hash_text == EMPTY_HASHES[function]):
        raise InvalidArgument(f"digest {hash_text}/{size_bytes}: exactly the empty blob has size 0")
    return Digest(hash_text, size_bytes, function)


def parse_digest_text(text: str) -> Digest:
    """Reads `HASH/SIZE`, the form that commands take and print; raises InvalidArgument."""
    hash_text, slash, size = text.partition("/")
    if not slash or not size.isascii() or not size.isdigit() or len(size) > 16:
        raise InvalidArgument(f"{text[:160]!r} is not a digest: write it as HASH/SIZE")
    return make_digest(hash_text, int(size), parse_function(0, len(hash_text)))


def parse_digests(messages: Iterable[re_pb2.Digest], function_number: int) -> list[Digest]:
    """All digests of one request, which share one function (D5); raises InvalidArgument."""
    function: DigestFunction | None = None
    digests = []
    for message in messages:
        if function is None:
            function = parse_function(function_number, len(message.hash))
        digests.append(make_digest(message.hash, message.size_bytes, function))
    return digests


def _announced() -> str:
    return "it serves " + ", ".join(function.name for function in DIGEST_FUNCTIONS)
