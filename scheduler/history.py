"""The history of finished operations: what a store of it keeps and can be asked.

There are two dialects, SQLite and PostgreSQL, both proved by tests/contracts/test_history_store.py.
History is for people and for guesses: nothing depends on it, and its last second may be lost.

Times are microseconds since 1970 on the scheduler's clock; 0 means that it did not happen.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reapi.core.digest import Digest

EXPIRY_BATCH = 1000
"""Rows that are taken out in one step."""


class Attempt(NamedTuple):
    """One lease of an execution. `end` is empty while it runs, else one of the ends below."""

    worker_id: str
    epoch: int
    leased_at: int
    reason: str
    end: str = ""
    ended_at: int = 0


COMPLETED = "completed"
LOST = "lost"
RETURNED = "returned"
REVOKED = "revoked"


class HistoryRow(NamedTuple):
    """A finished operation.

    `target_key` and `program_key` are equal for like actions (action_traits.py); None for an
    action of which too little is known. `cache_state` is a CacheState: what the action cache said
    when the operation began, with `cache_reason` as a sentence where there is more to say; both
    are empty if that was before a restart of the scheduler. `duration` is what the command itself
    took; what it used is 0 where its worker did not tell. `message` goes with `status_code`, a
    google.rpc code, or with a result.
    """

    operation_name: str
    instance_name: str
    action: Digest
    tenant: str
    invocation: str
    target: str
    mnemonic: str
    target_key: bytes | None
    program_key: bytes | None
    cache_state: str
    cache_reason: str
    queued_at: int
    started_at: int
    finished_at: int
    duration: int
    exit_code: int
    status_code: int
    message: str
    attempts: tuple[Attempt, ...]
    user_time: int = 0
    system_time: int = 0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    @property
    def is_success(self) -> bool:
        """Whether its result could be cached."""
        return self.status_code == 0 and self.exit_code == 0


class HistoryQuery(NamedTuple):
    """Which rows are meant: those that meet all conditions that are not None."""

    instance_name: str | None = None
    operation_name: str | None = None
    action: Digest | None = None
    target_key: bytes | None = None
    program_key: bytes | None = None
    other_than: Digest | None = None
    target: str | None = None
    worker_id: str | None = None
    """Of any attempt."""
    finished_since: int | None = None
    finished_before: int | None = None
    is_failed: bool | None = None


class ObservedDuration(NamedTuple):
    """How long the command of some action took."""

    instance_name: str
    target: str
    mnemonic: str
    duration: int


class HistoryStore(Protocol):
    """Rows in the order in which they were added."""

    async def add(self, rows: Sequence[HistoryRow]) -> None:
        """Adds rows in one commit; those of an operation that is known already are passed over.

        No text in them has zero bytes.
        """

    async def select(self, query: HistoryQuery, limit: int) -> list[HistoryRow]:
        """The latest rows that the query means, the last one first.

        Fast with an operation, an action or one of the keys; all rows are looked at otherwise,
        without holding up others.
        """

    async def expire(self, finished_before: int, max_rows: int) -> int:
        """Takes out rows that are older, or beyond that number, the oldest first, EXPIRY_BATCH of
        them at most; says how many went.
        """

    async def durations(self, limit: int) -> list[ObservedDuration]:
        """Of the latest rows whose command ran and succeeded, in their order."""
