"""Digests and digest functions: the only parsers and validators of them.

Below the services nobody validates again: a Digest made by `parse_digest` or `digest_of` is valid.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from blake3 import blake3

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .errors import InvalidArgument
from .sha256tree import Sha256Tree

LARGEST_SIZE_BYTES = 2**53
"""A size above this is a mistake or an attack; JSON and floats could not even hold it."""


class Hasher(Protocol):
    """What hashlib objects are. `update` may return anything."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...
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


_NUMBERS = re_pb2.DigestFunction

SHA256 = DigestFunction("SHA256", _NUMBERS.SHA256, 32, hashlib.sha256, True)
BLAKE3 = DigestFunction("BLAKE3", _NUMBERS.BLAKE3, 32, blake3, False)
SHA1 = DigestFunction("SHA1", _NUMBERS.SHA1, 20, hashlib.sha1, True)
SHA384 = DigestFunction("SHA384", _NUMBERS.SHA384, 48, hashlib.sha384, True)
SHA512 = DigestFunction("SHA512", _NUMBERS.SHA512, 64, hashlib.sha512, True)
SHA256TREE = DigestFunction("SHA256TREE", _NUMBERS.SHA256TREE, 32, Sha256Tree, False)

DIGEST_FUNCTIONS = (SHA256, BLAKE3, SHA1, SHA384, SHA512, SHA256TREE)
"""Those that this build can compute, the default one first."""

HASH_LENGTHS = frozenset(2 * function.hash_bytes for function in DIGEST_FUNCTIONS)
"""In hexadecimal digits."""

_BY_NUMBER = {function.number: function for function in DIGEST_FUNCTIONS}
_BY_NAME = {function.name: function for function in DIGEST_FUNCTIONS}
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


EMPTY_HASHES = {function: function.new().hexdigest() for function in DIGEST_FUNCTIONS}
"""The hash of the empty blob, which exists always and everywhere (G3)."""


def digest_of(data: bytes | bytearray | memoryview, function: DigestFunction = SHA256) -> Digest:
    """Hashes `data`, which is in memory whole."""
    hasher = function.new()
    hasher.update(data)
    return Digest(hasher.hexdigest(), len(data), function)


def digest_of_key(key: bytes, size_bytes: int) -> Digest:
    """The digest whose `key` this is."""
    return Digest(key[1:].hex(), size_bytes, _BY_NUMBER[key[0]])


def function_named(name: str) -> DigestFunction:
    """The function of that name, in any case of letters; raises InvalidArgument."""
    function = _BY_NAME.get(name.upper())
    if function is None:
        raise InvalidArgument(
            f"{name[:40]!r} is none of the digest functions {_names(DIGEST_FUNCTIONS)}"
        )
    return function


def functions_led_by(default: DigestFunction) -> tuple[DigestFunction, ...]:
    """`default`, then all functions that can be told from it where it is meant unless stated.

    An inferred function with hashes of the same length cannot: resource names never state it (D3).
    """
    others = (
        function
        for function in DIGEST_FUNCTIONS
        if function is not default
        and not (function.is_inferred and function.hash_bytes == default.hash_bytes)
    )
    return default, *others


def parse_function(
    number: int,
    hash_length: int | None = None,
    served: Sequence[DigestFunction] = DIGEST_FUNCTIONS,
) -> DigestFunction:
    """The function that a request states, or that the hex length of its first hash implies (D2).

    Of `served` the first one is the default: it is meant by a request that states none and has no
    hash, and by hashes of its length. Raises InvalidArgument for a function that is not served
    (D4).
    """
    if number == re_pb2.DigestFunction.UNKNOWN:
        default = served[0]
        if hash_length is None or hash_length == 2 * default.hash_bytes:
            return default
        for function in served:
            if function.is_inferred and hash_length == 2 * function.hash_bytes:
                return function
        raise InvalidArgument(
            f"no digest function here has hashes of {hash_length} characters; "
            f"there are {_names(served)}: see GetCapabilities"
        )
    for function in served:
        if function.number == number:
            return function
    names = {value: name for name, value in re_pb2.DigestFunction.Value.items()}
    raise InvalidArgument(
        f"digest function {names.get(number, number)} is not served here; "
        f"there are {_names(served)}: see GetCapabilities"
    )


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


def parse_digest_text(text: str, default: DigestFunction = SHA256) -> Digest:
    """Reads `HASH/SIZE`, the form that commands take and print; raises InvalidArgument.

    A hash of the length of those of `default` is one of them.
    """
    hash_text, slash, size = text.partition("/")
    if not slash or not size.isascii() or not size.isdigit() or len(size) > 16:
        raise InvalidArgument(f"{text[:160]!r} is not a digest: write it as HASH/SIZE")
    function = parse_function(0, len(hash_text), functions_led_by(default))
    return make_digest(hash_text, int(size), function)


def _names(functions: Sequence[DigestFunction]) -> str:
    """For messages."""
    return ", ".join(function.name for function in functions)
