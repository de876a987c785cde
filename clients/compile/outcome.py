"""What became of a call of a compiler, for statistics, for `--why` and for traces."""

from dataclasses import dataclass
from enum import StrEnum


class OutcomeKind(StrEnum):
    """Every call is one of these."""

    HIT_LOCAL = "hit-local"
    HIT_REMOTE = "hit-remote"
    MISS_REMOTE = "miss-remote"
    """Compiled by the service."""
    MISS_LOCAL = "miss-local"
    """Made here and stored, as the strategy asks, or because no executor is to make it."""
    FALLBACK = "fallback"
    """Compiled here because the service was in trouble."""
    LOCAL = "local"
    """A call of a kind that stays on this machine."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the work on a call; times are those of time.monotonic()."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine tells of a call beside its answer.

    `source` and `output` are paths as the call had them. `reason` is a short phrase that is the
    same for all calls of its kind, since it is counted: why it missed, or stayed here. `details`
    say it of this call: the input, option or header that differs. `failure` names a kind of failure
    of the service (`unavailable`), to be counted; `trouble` says it to the user of the build.
    """

    kind: OutcomeKind
    source: str = ""
    output: str = ""
    reason: str = ""
    details: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    failure: str = ""
    trouble: str = ""
    slot_seconds: float = 0.0
    """Of executors."""
    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
