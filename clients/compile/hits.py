"""Direct mode: whether the inputs of a call are what they were when a result was made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from reapi.core.digest import DigestFunction

from .calls import Call
from .closure import include_closure
from .crate_lookups import CrateLookups
from .dep_info import variables_hold
from .directory_states import DirectoryStates
from .file_states import FileStates
from .keeping import Keeping
from .library_path import with_files
from .looked_up import pack_names, unpack_names
from .lookups import Lookups
from .manifest import Entry, Interner, Record, read_manifest, write_manifest
from .model import Product
from .recent import Recent
from .rustc_arguments import RustCompilation
from .search_path import SearchPath

_ENTRY_WEIGHT = 100
_BYTES_PER_INPUT = 33
_LARGEST_WEIGHT = 3_000_000
"""One for each input and some for each entry: about 100 MiB."""


@dataclass(slots=True)
class Looked:
    """What was found for a call: its key, all entries under that, and the one that holds.

    `shared` is the manifest that has just these entries, if another has shared it.
    """

    key: str
    entries: list[Entry]
    hit: Entry | None
    shared: bytes | None = None


class Hits:
    """Finds and records entries in memory and on disk; in one thread, without a pause."""

    def __init__(self, keeping: Keeping, files: FileStates, directories: DirectoryStates) -> None:
        self._keeping = keeping
        self._files = files
        self._directories = directories
        self._recent: Recent[str, list[Entry]] = Recent(_LARGEST_WEIGHT)
        self._intern = Interner()

    @property
    def _function(self) -> DigestFunction:
        return self._files.function

    def key(self, call: Call) -> str | None:
        """The key of a call as its source is now; None if it has none."""
        source = self._files.digest(call.source)
        if source is None:
            return None
        if call.compilation.product is Product.ARCHIVE:
            return call.key(source, self._files.digest(call.path(call.compilation.output)))
        return call.key(source)

    def look(self, call: Call, key: str, search: SearchPath) -> Looked:
        """The entries of a key that this machine has, and the first that holds now."""
        entries = self._recent.get(self._at(call, key))
        if entries is None:
            data = self._keeping.manifest(key)
            entries = [] if data is None else self._read(call, data)
            self._remember(call, key, entries)
        return Looked(key, entries, self._first_that_holds(call, entries, search))

    def look_into(self, call: Call, looked: Looked, data: bytes, search: SearchPath) -> Looked:
        """As `look`, of a manifest that another has shared."""
        entries = self._read(call, data)
        hit = self._first_that_holds(call, entries, search)
        entries = [one for one in entries if not any(_is_same(one, own) for own in looked.entries)]
        return Looked(
            looked.key, [*looked.entries, *entries], hit, None if looked.entries else data
        )

    def record(self, call: Call, looked: Looked, entry: Entry) -> bytes:
        """Remembers an entry before the others of its key; returns the manifest."""
        others = [
            other for other in looked.entries if other is not entry and not _is_same(other, entry)
        ]
        entries = [entry, *others]
        entry.records = [self._intern(record) for record in entry.records]
        if not entry.names and isinstance(entry.lookups, Lookups):
            entry.names = pack_names(entry.lookups.names(), call.view)
        data = looked.shared if looked.shared and looked.entries == entries else None
        if data is None:
            data = write_manifest(entries, call.view)
        self._keeping.put_manifest(looked.key, data)
        self._remember(call, looked.key, entries)
        return data

    def closure(self, call: Call, search: SearchPath) -> list[str] | None:
        """The files that a call may read, if they can be told without its compiler."""
        return include_closure(call.source, call.directory, search, self._files, self._directories)

    def lookups(
        self, call: Call, records: Sequence[Record], search: SearchPath, names: bytes = b""
    ) -> Lookups:
        """Where the names in these files are looked up, for all but crates.

        `names` are those, packed, if another has found them.
        """
        if call.compilation.product is not Product.OBJECT:
            search, records = with_files(call, search, [path for path, _ in records]), []
        told = unpack_names(names, call.view, records) if names else None
        return Lookups(search, call.directory, records, self._files, self._directories, told)

    def _remember(self, call: Call, key: str, entries: list[Entry]) -> None:
        weight = sum(
            _ENTRY_WEIGHT + len(entry.records) + len(entry.names) // _BYTES_PER_INPUT
            for entry in entries
        )
        self._recent.put(self._at(call, key), entries, _ENTRY_WEIGHT + weight)

    def _at(self, call: Call, key: str) -> str:
        """Entries have paths of ours: they are those of one checkout."""
        return f"{key} {call.view.root}" if call.is_shared else key

    def _read(self, call: Call, data: bytes) -> list[Entry]:
        return read_manifest(data, call.view, self._function, self._intern)

    def _first_that_holds(
        self, call: Call, entries: list[Entry], search: SearchPath
    ) -> Entry | None:
        environment = call.invocation.environment
        for entry in entries:
            if entry.root not in ("", call.view.root):
                continue
            if not variables_hold(entry.variables, environment):
                continue
            if self._files.hold(entry.records) and self._finds_the_same(call, entry, search):
                return entry
        return None

    def _finds_the_same(self, call: Call, entry: Entry, search: SearchPath) -> bool:
        """Whether no other file has come to stand where one of the inputs was found."""
        if entry.lookups is not None:
            return entry.lookups.still_hold()
        lookups: Lookups | CrateLookups
        if isinstance(call.compilation, RustCompilation):
            paths = [path for path, _ in entry.records]
            lookups = CrateLookups(call.compilation, call.directory, paths)
        else:
            lookups = self.lookups(call, entry.records, search, entry.names)
        if lookups.fingerprint(call.view) != entry.fingerprint:
            return False
        entry.lookups = lookups
        return True


def _is_same(one: Entry, other: Entry) -> bool:
    return (one.root, one.records, one.fingerprint, one.variables) == (
        other.root,
        other.records,
        other.fingerprint,
        other.variables,
    )
