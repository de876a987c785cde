"""What the files of this machine contain, remembered for as long as stat says the same of them."""

import os
import stat
import time
from collections.abc import Iterable

from reapi.clients.file_digests import UNSETTLED_NS, hash_file
from reapi.core.digest import SHA256, Digest, DigestFunction, digest_of

from .recent import Recent
from .source_scan import UNKNOWN, SourceFacts, scan_source

_MOST_FILES = 60_000
"""About 40 MiB."""

_MOST_NAMES = 300_000
"""Of all facts together, about 30 MiB: each file counts as one and each name in it."""

_LARGEST_SOURCE_BYTES = 64 << 20

_State = tuple[int, int, int, int, int, Digest]

_UNKNOWN_STATE: _State = (0, 0, 0, -1, 0, digest_of(b""))


class FileStates:
    """Digests and facts of files, for a process that lives long; in one thread, blocks.

    Paths are absolute; symlinks are followed. Every question costs a stat: a change is noticed at
    once, and a file that changed in the last seconds is read again each time, since its timestamps
    might not tell of another change.
    """

    def __init__(self, function: DigestFunction = SHA256) -> None:
        self.function = function
        self._known: Recent[str, _State] = Recent(_MOST_FILES)
        self._facts: Recent[Digest, SourceFacts] = Recent(_MOST_NAMES)

    def digest(self, path: str) -> Digest | None:
        """The digest of the regular file there; None when there is none that can be read."""
        try:
            status = os.stat(path)
            return self._remembered(path, status) or self._learn(path, status, None)
        except OSError:
            return None

    def facts_of(self, path: str, digest: Digest) -> SourceFacts | None:
        """As `facts`, of a file that has that digest: without a stat if they are known."""
        return self._facts.get(digest) or self.facts(path)

    def facts(self, path: str) -> SourceFacts | None:
        """What follows from the content of the regular file there; None as above."""
        try:
            status = os.stat(path)
            digest = self._remembered(path, status)
            facts = self._facts.get(digest) if digest else None
            if facts is not None:
                return facts
            if status.st_size > _LARGEST_SOURCE_BYTES:
                return UNKNOWN
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(path, "rb", buffering=0) as file:
                content = file.read(_LARGEST_SOURCE_BYTES)
            digest = self._learn(path, status, content)
        except OSError:
            return None
        if digest is None:
            return None
        facts = self._facts.get(digest)
        if facts is None:
            facts = scan_source(content)
            self._facts.put(digest, facts, 1 + len(facts.quoted) + len(facts.angled))
        return facts

    def hold(self, records: Iterable[tuple[str, Digest]]) -> bool:
        """Whether each path still is a file of that digest; up to 2 microseconds for each."""
        get, get_status = self._known.get, os.stat
        for path, digest in records:
            try:
                status = get_status(path)
            except OSError:
                return False
            mtime_ns, ctime_ns, inode, size_bytes, device, known = get(path) or _UNKNOWN_STATE
            if (
                status.st_mtime_ns != mtime_ns
                or status.st_ctime_ns != ctime_ns
                or status.st_ino != inode
                or status.st_size != size_bytes
                or status.st_dev != device
            ):
                if status.st_size != digest.size_bytes or self.digest(path) != digest:
                    return False
            elif known != digest:
                return False
        return True

    def _remembered(self, path: str, status: os.stat_result) -> Digest | None:
        state = self._known.get(path)
        return state[5] if state is not None and state[:5] == _stamp(status) else None

    def _learn(self, path: str, status: os.stat_result, content: bytes | None) -> Digest | None:
        """The digest of the file of which `status` was taken before `content` was read."""
        if not stat.S_ISREG(status.st_mode):
            return None
        youngest_ns = time.time_ns() - UNSETTLED_NS
        if content is None:
            digest = hash_file(path, self.function)
        else:
            digest = digest_of(content, self.function)
        stamp = _stamp(status)
        is_settled = max(status.st_mtime_ns, status.st_ctime_ns) < youngest_ns
        if is_settled and stamp == _stamp(os.stat(path)):
            self._known.put(path, (*stamp, digest))
        return digest


def _stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_size,
        status.st_dev,
    )
