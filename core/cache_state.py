"""What the action cache says of one action: whether there is a result, and if not, why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from .errors import NotFound


class CacheState(StrEnum):
    """The last two are why the cache was not even asked."""

    PRESENT = "present"
    ABSENT = "absent"
    EXPIRED = "expired"
    PURGED = "purged"
    REVOKED = "revoked"
    INCOMPLETE = "incomplete"
    NOT_CACHEABLE = "do_not_cache"
    NOT_ASKED = "skip_cache_lookup"


_TIMES = {
    CacheState.PRESENT: "stored on",
    CacheState.REVOKED: "on",
    CacheState.INCOMPLETE: "found on",
}
_SENTENCES = {
    CacheState.PRESENT: "there is a result",
    CacheState.ABSENT: "there is no entry",
    CacheState.EXPIRED: "the result was older than ttl_seconds allows",
    CacheState.PURGED: "the result was stored before results_since of this instance",
    CacheState.REVOKED: "the result was revoked by an operator",
    CacheState.INCOMPLETE: "blobs of the result are not stored any more",
    CacheState.NOT_CACHEABLE: "the action forbids it (do_not_cache)",
    CacheState.NOT_ASKED: "the client asked to run it in any case (skip_cache_lookup)",
}


@dataclass(frozen=True, slots=True)
class CacheFinding:
    """What was found. `at` is when the result was stored if it is PRESENT, else when it was found
    wanting or taken out, in seconds since 1970; 0 for never.

    `detail` names what is missing, for INCOMPLETE, or when it was stored, or used if it is PRESENT.
    """

    state: CacheState
    at: int = 0
    detail: str = ""

    @property
    def sentence(self) -> str:
        """For a person, without a full stop."""
        text = _SENTENCES[self.state]
        if self.at and self.state in _TIMES:
            text += f", {_TIMES[self.state]} {time_text(self.at)}"
        return f"{text}: {self.detail}" if self.detail else text


class ResultAbsent(NotFound):
    """There is no result that counts; `finding` says why."""

    def __init__(self, message: str, finding: CacheFinding) -> None:
        super().__init__(message)
        self.finding = finding


def time_text(seconds: float) -> str:
    """A time as people and programs read it, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
