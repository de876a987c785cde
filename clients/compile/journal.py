"""What became of the last calls, a line of JSON for each, in two files of bounded size."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .model import Invocation
from .outcome import Outcome

JOURNAL_FILE = "journal.jsonl"
_LARGEST_FILE_BYTES = 16 << 20
_MOST_PENDING = 10_000
_MOST_DETAILS = 20
_MOST_FILES = 16
_LONGEST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that has ended.

    `at`: when its request came, in seconds since the epoch. `files`: its arguments that are no
    options. `phases`: name, begin and length, in seconds from `at`.
    """

    at: float
    seconds: float
    directory: str
    kind: str
    source: str = ""
    output: str = ""
    files: list[str] = field(default_factory=list)
    reason: str = ""
    details: list[str] = field(default_factory=list)
    trouble: str = ""
    exit_code: int | None = None
    phases: list[tuple[str, float, float]] = field(default_factory=list)


_FIELDS = frozenset(each.name for each in fields(Entry))


class Journal:
    """Remembers calls until `flush` appends them; the oldest go when there are too many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[Entry] = []

    def note(self, entry: Entry) -> None:
        """Keeps an entry for the next `flush`; what is beyond a bound before that is lost."""
        if len(self._pending) < _MOST_PENDING:
            self._pending.append(entry)

    def flush(self) -> None:
        """Appends what is new; raises OSError, and has forgotten it then."""
        if not self._pending:
            return
        lines = [json.dumps(asdict(entry), separators=(",", ":")) for entry in self._pending]
        self._pending = []
        with self._path.open("a", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
            is_full = file.tell() > _LARGEST_FILE_BYTES
        if is_full:
            self._path.replace(_older(self._path))


def entry_of(
    invocation: Invocation,
    outcome: Outcome,
    *,
    at: float,
    begin: float,
    seconds: float,
    exit_code: int | None,
) -> Entry:
    """What is remembered of a call that began at `begin` of time.monotonic()."""
    return Entry(
        at,
        round(seconds, 6),
        invocation.working_directory,
        outcome.kind.value,
        outcome.source[:_LONGEST_TEXT],
        outcome.output[:_LONGEST_TEXT],
        [] if outcome.source else _files(invocation),
        outcome.reason[:_LONGEST_TEXT],
        [detail[:_LONGEST_TEXT] for detail in outcome.details[:_MOST_DETAILS]],
        outcome.trouble[:_LONGEST_TEXT],
        exit_code,
        [
            (phase.name, round(phase.begin - begin, 6), round(phase.end - phase.begin, 6))
            for phase in outcome.phases[:_MOST_DETAILS]
        ],
    )


def _files(invocation: Invocation) -> list[str]:
    words = (word for word in invocation.arguments[1:] if word and not word.startswith(("-", "@")))
    return [word[:_LONGEST_TEXT] for _, word in zip(range(_MOST_FILES), words, strict=False)]


def read_journal(path: Path) -> Iterator[Entry]:
    """The calls that are remembered, oldest first; lines that are damaged are left out."""
    for each in (_older(path), path):
        with contextlib.suppress(FileNotFoundError), each.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    yield _entry(json.loads(line))


def _entry(values: dict[str, Any]) -> Entry:
    known = {name: value for name, value in values.items() if name in _FIELDS}
    phases = [(str(name), float(at), float(long)) for name, at, long in known.pop("phases", [])]
    return Entry(**known, phases=phases)


def _older(path: Path) -> Path:
    return path.with_suffix(".old.jsonl")
