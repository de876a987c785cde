"""A result as it is kept, and as its caller gets it: outputs, depfile, diagnostics."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import InvalidArgument
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .calls import Call
from .delivery import deliver_bytes, deliver_file
from .depfile import rewrite
from .local_cache import LocalCache
from .model import CANONICAL_ROOT, Family, Finished
from .packing import unpack

_LARGEST_DEPFILE_BYTES = 64 << 20

_COLOUR = re.compile(rb"\x1b\[[0-9;]*[mK]|\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)")
"""What gcc and clang put around text: colours, "erase to the end of the line", hyperlinks."""


class CannotDeliver(Exception):
    """A result that cannot be put where it belongs in this checkout, and why."""


def digests_of(result: manifest_pb2.Result, function: DigestFunction) -> list[Digest]:
    """What a result consists of."""
    return [Digest(item.hash.hex(), item.size_bytes, function) for item in result.outputs]


def fits(call: Call, result: manifest_pb2.Result) -> bool:
    """Whether these are outputs of that call: the object, and others it may have, each once."""
    indices = [item.index for item in result.outputs]
    return 0 in indices and len({*indices}) == len(indices) and max(indices) < len(call.outputs)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result on its way: `outputs` are places with what is to be there, or a file like it."""

    call: Call
    result: manifest_pb2.Result
    outputs: Sequence[tuple[str, bytes | str]]

    @property
    def size_bytes(self) -> int:
        """Of all outputs."""
        return sum(item.size_bytes for item in self.result.outputs)

    def make(self) -> Finished:
        """Puts the result where its caller wants it, the object last.

        Blocks, in any thread. Raises CannotDeliver, and OSError when it cannot be written.
        """
        call, umask = self.call, self.call.invocation.umask
        depfile = call.compilation.depfile
        if depfile is not None:
            deliver_bytes(_depfile(call, self.result), call.path(depfile.path), umask=umask)
        for target, source in reversed(self.outputs):
            if isinstance(source, bytes):
                deliver_bytes(source, target, umask=umask, mode=call.mode)
            else:
                deliver_file(source, target, umask=umask, mode=call.mode)
        return Finished(0, self.result.stdout, diagnostics(call, self.result.stderr))


def delivery_of(
    call: Call, result: manifest_pb2.Result, cache: LocalCache, blobs: Mapping[Digest, bytes]
) -> Delivery | None:
    """The outputs of a result from `blobs`, or from the cache; None when one is in neither.

    Raises CannotDeliver. Blocks while a cache is asked.
    """
    if not fits(call, result):
        raise CannotDeliver("its outputs are not those of the call")
    outputs: list[tuple[str, bytes | str]] = []
    for item, digest in zip(result.outputs, digests_of(result, cache.function), strict=True):
        source = blobs[digest] if digest in blobs else cache.blob(digest)
        if source is None:
            return None
        outputs.append((call.path(call.outputs[item.index]), source))
    return Delivery(call, result, outputs)


def diagnostics(call: Call, text: bytes) -> bytes:
    """What a compiler printed, for a caller: with paths of ours, coloured or not."""
    if call.is_shared:
        text = _ours(call, text)
    return text if call.wants_colour else _COLOUR.sub(b"", text)


def as_shared(call: Call, text: bytes) -> bytes:
    """A text that is kept, with the paths of the view; `diagnostics` is the way back."""
    if not call.is_shared:
        return text
    return text.replace(os.fsencode(call.view.root + "/"), os.fsencode(CANONICAL_ROOT + "/"))


def _depfile(call: Call, result: manifest_pb2.Result) -> bytes:
    """The rule with paths of ours, as the compiler would have written it with them."""
    try:
        rule = unpack(result.depfile, _LARGEST_DEPFILE_BYTES)
    except InvalidArgument as error:
        raise CannotDeliver("its depfile is damaged") from error
    if not call.is_shared or CANONICAL_ROOT.encode() not in rule:
        return rule
    if call.compilation.family is Family.RUSTC:
        return _ours(call, rule)
    ours = rewrite(rule, call.compilation.family, call.view.here)
    if ours is None:
        raise CannotDeliver("its depfile cannot be told for another checkout")
    return ours


def _ours(call: Call, text: bytes) -> bytes:
    return text.replace(os.fsencode(CANONICAL_ROOT + "/"), os.fsencode(call.view.root + "/"))
