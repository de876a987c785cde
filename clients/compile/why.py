"""Answers `reapi-cc --why FILE` from the journal."""

import os
from collections.abc import Iterable

from .journal import Entry
from .outcome import OutcomeKind

_SENTENCES: dict[str, str] = {
    OutcomeKind.HIT_LOCAL: "came from the cache of this machine",
    OutcomeKind.HIT_REMOTE: "came from the cache of the service",
    OutcomeKind.MISS_REMOTE: "missed, and was compiled by the service",
    OutcomeKind.MISS_LOCAL: "missed, and was compiled here",
    OutcomeKind.FALLBACK: "was compiled here, because the service was in trouble",
    OutcomeKind.LOCAL: "ran here, as calls of its kind do",
}


def calls_of(path: str, entries: Iterable[Entry], *, most: int = 5) -> list[Entry]:
    """The last calls that read the source or wrote the output `path`, newest first."""
    wanted = os.path.realpath(path)
    found = [
        entry for entry in entries if any(_is_file(wanted, entry, name) for name in _names(entry))
    ]
    return found[: -most - 1 : -1]


def explain(entry: Entry) -> list[str]:
    """Lines for a person: what became of a call, and why."""
    named = f"{entry.source} -> {entry.output}" if entry.output else entry.source
    lines = [f"{named or ' '.join(entry.files)}  (in {entry.directory})"]
    lines.append(f"  {_SENTENCES.get(entry.kind, entry.kind)}, {entry.seconds:.3f} s")
    if entry.reason:
        lines.append(f"  because: {entry.reason}")
    lines += [f"    {detail}" for detail in entry.details]
    if entry.trouble:
        lines.append(f"  trouble: {entry.trouble}")
    if entry.phases:
        spent = ", ".join(f"{name} {seconds * 1000:.1f}" for name, _, seconds in entry.phases)
        lines.append(f"  ms: {spent}")
    return lines


def _names(entry: Entry) -> list[str]:
    return [name for name in (entry.source, entry.output, *entry.files) if name]


def _is_file(wanted: str, entry: Entry, name: str) -> bool:
    if os.path.basename(name) != os.path.basename(wanted):
        return False  # resolving thousands of paths takes a while
    return os.path.realpath(os.path.join(entry.directory, name)) == wanted
