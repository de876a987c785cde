"""What is remembered of a call under its key: sets of inputs, each with the result it led to."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import InvalidArgument
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .crate_lookups import CrateLookups
from .dep_info import Variable
from .lookups import Lookups
from .model import View
from .packing import pack, unpack

_MOST_ENTRIES = 8
"""Headers that change back and forth, such as with branches, are seldom more."""

_LARGEST_BYTES = 64 << 20
_MOST_INPUTS = 100_000
_MOST_OUTPUTS = 16
_LARGEST_FILE_BYTES = 1 << 30
_KERNELS = re.compile(r"/(?:dev/(?!shm/)|proc/|sys/)")

Record = tuple[str, Digest]
"""A file of ours, and what it is to contain."""


@dataclass(slots=True)
class Entry:
    """One set of inputs, as paths of ours.

    `root` is set where the result has it in it: it holds for that checkout alone. `lookups` is made
    when it is needed for the first time in the life of a process, of `names` where that is known
    (looked_up.py).
    """

    records: Sequence[Record]
    fingerprint: str
    result: manifest_pb2.Result
    root: str = ""
    lookups: Lookups | CrateLookups | None = None
    variables: Sequence[Variable] = ()
    names: bytes = b""


class Interner:
    """Makes equal records one object: headers are in as many entries as there are sources."""

    def __init__(self, most: int = 500_000) -> None:
        self._most = most
        self._known: dict[tuple[str, str], Record] = {}

    def __call__(self, record: Record) -> Record:
        """The record that is known of the same file and content, or this one from now on."""
        if len(self._known) > self._most:
            self._known.clear()
        path, digest = record
        known = self._known.setdefault((path, digest.hash), record)
        return known if known == record else record

    def known(self, path: str, hash_digits: str, size_bytes: int) -> Record | None:
        """The record that is known of a file, its hash and its size."""
        record = self._known.get((path, hash_digits))
        return record if record is not None and record[1].size_bytes == size_bytes else None


def read_manifest(
    data: bytes, view: View, function: DigestFunction, intern: Interner
) -> list[Entry]:
    """The entries with the paths of a checkout, the latest first; none of what is damaged.

    Whoever may write to the server may have written this: it is data, checked here. All of one
    interner are of the same function.
    """
    try:
        message = manifest_pb2.Manifest.FromString(unpack(data, _LARGEST_BYTES))
    except (InvalidArgument, DecodeError):
        return []
    entries = []
    for found in message.entries[:_MOST_ENTRIES]:
        records = _records(found, view, function, intern)
        if records and all(_is_blob(item, function) for item in found.result.outputs):
            variables = tuple((variable.name, variable.hash) for variable in found.variables)
            entries.append(
                Entry(
                    records,
                    found.lookups,
                    found.result,
                    found.root,
                    variables=variables,
                    names=found.names,
                )
            )
    return entries


def _records(
    found: manifest_pb2.Entry, view: View, function: DigestFunction, intern: Interner
) -> list[Record]:
    """The inputs; none unless all can be looked at without harm to this process, and the outputs
    are not too many."""
    if len(found.inputs) > _MOST_INPUTS or len(found.result.outputs) > _MOST_OUTPUTS:
        return []
    here, known = view.here, intern.known
    records = []
    for item in found.inputs:
        path, hash_digits, size_bytes = here(item.path), item.hash.hex(), item.size_bytes
        record = known(path, hash_digits, size_bytes)
        if record is None:
            if not _is_path(path) or not _is_blob(item, function):
                return []
            record = intern((path, Digest(hash_digits, size_bytes, function)))
        records.append(record)
    return records


def _is_blob(item: manifest_pb2.Input | manifest_pb2.Output, function: DigestFunction) -> bool:
    return len(item.hash) == function.hash_bytes and item.size_bytes <= _LARGEST_FILE_BYTES


def _is_path(path: str) -> bool:
    """Whether an ordinary file may be there: what the kernel shows as files may never end."""
    is_clean = path.startswith("/") and "\0" not in path
    return is_clean and not _KERNELS.match(os.path.normpath(path))


def write_manifest(entries: Iterable[Entry], view: View) -> bytes:
    """The manifest of these entries; those beyond the first few are forgotten."""
    message = manifest_pb2.Manifest()
    for entry in list(entries)[:_MOST_ENTRIES]:
        added = message.entries.add(
            root=entry.root, lookups=entry.fingerprint, result=entry.result, names=entry.names
        )
        for path, digest in entry.records:
            added.inputs.add(
                path=view.there(path),
                hash=bytes.fromhex(digest.hash),
                size_bytes=digest.size_bytes,
            )
        for name, value in entry.variables:
            added.variables.add(name=name, hash=value)
    return pack(message.SerializeToString(deterministic=True))
