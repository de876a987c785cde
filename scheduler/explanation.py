"""What is known of an action and its latest operation, and how it is told to a person."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.rpc import code_pb2

from reapi.core.cache_state import CacheFinding, CacheState, time_text
from reapi.core.digest import Digest

from .action_difference import Comparison, Difference, ReadAction
from .history import Attempt, HistoryRow
from .one_line import one_line

_LONGEST_COMMAND = 500
_EARLIER_SHOWN = 5


@dataclass(slots=True)
class Explanation:
    """`operation` is what is explained: one that goes on (its `finished_at` is 0) or has ended;
    None if the action is not known to have run. `cache_reason` says why there is a result now, or
    none; `run_reason` why the operation was not answered from the cache, if so.

    `compared_with` is the nearest earlier action, if there is one and a difference from it is the
    reason. `waiting` says why the operation waits, if it does. `earlier` are other operations of
    the same action, latest first.
    """

    instance_name: str
    action: Digest
    cache: CacheFinding
    read: ReadAction | None = None
    operation: HistoryRow | None = None
    cache_reason: str = ""
    run_reason: str = ""
    compared_with: HistoryRow | None = None
    comparison: Comparison = field(default_factory=Comparison)
    waiting: str = ""
    earlier: list[HistoryRow] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The whole of it, each line with a name of what it is about."""
        return [f"{name:<12} {text}".rstrip() for name, text in self._told()]

    def _told(self) -> Iterator[tuple[str, str]]:
        yield "action", f"{self.action} of instance {self.instance_name!r}"
        yield from self._identity()
        yield "cached", f"{'yes' if self.is_cached else 'no'}: {self.cache_reason}"
        if self.run_reason:
            yield "ran because", self.run_reason
        yield from self._differences()
        if self.operation is not None:
            yield from _story(self.operation, self.waiting)
        for row in self.earlier[:_EARLIER_SHOWN]:
            yield "earlier", f"{_when(row.finished_at)} {row.operation_name}: {ending(row)}"

    @property
    def is_cached(self) -> bool:
        return self.cache.state is CacheState.PRESENT

    def _identity(self) -> Iterator[tuple[str, str]]:
        operation = self.operation
        if operation is not None:
            yield "operation", operation.operation_name
            if operation.target or operation.mnemonic:
                yield "target", f"{operation.target} {operation.mnemonic}".strip()
            if operation.invocation:
                yield "invocation", operation.invocation
        if self.read is None:
            yield "command", "not known: the action or its command is not stored, or malformed"
        else:
            yield "command", one_line(shlex.join(self.read.command.arguments), _LONGEST_COMMAND)

    def _differences(self) -> Iterator[tuple[str, str]]:
        other = self.compared_with
        if other is not None:
            target = "target" if other.target_key is not None else "program"
            yield (
                "differs from",
                f"{other.action}, which ran on {_when(other.finished_at)} ({other.operation_name}):"
                f" the nearest earlier action of the same {target} and outputs",
            )
            for one in self.comparison.differences:
                yield "", f"{one.kind} {difference_text(one)}"
        for note in self.comparison.notes:
            yield "", f"({note})"


def difference_text(difference: Difference) -> str:
    """All but the kind."""
    subject = f"{difference.subject}: " if difference.subject else ""
    if not difference.earlier:
        return f"{subject}added: {difference.now}"
    if not difference.now:
        return f"{subject}removed: {difference.earlier}"
    return f"{subject}{difference.earlier} -> {difference.now}"


def ending(row: HistoryRow) -> str:
    """How an operation ended, in words."""
    if row.cache_state == CacheState.PRESENT:
        return "answered from the cache"
    if row.status_code != code_pb2.OK:
        known = row.status_code in code_pb2.Code.values()
        code = code_pb2.Code.Name(row.status_code) if known else f"code {row.status_code}"
        return f"failed with {code}: {row.message}"
    took = f" after {row.duration / 1e6:.3g} s" if row.duration else ""
    return f"exit code {row.exit_code}{took}{used_text(row)}" + (
        f"; {row.message}" if row.message else ""
    )


def used_text(row: HistoryRow) -> str:
    """What the command used, behind a comma; nothing if that is not known."""
    if not (row.user_time or row.system_time or row.peak_memory_bytes):
        return ""
    processors = (row.user_time + row.system_time) / 1e6
    return f", {processors:.3g} s of processors, {row.peak_memory_bytes / (1 << 20):.4g} MiB"


def _story(row: HistoryRow, waiting: str) -> Iterator[tuple[str, str]]:
    """What happened to an operation, in the order of time."""
    yield "queued", _when(row.queued_at)
    for number, attempt in enumerate(row.attempts, start=1):
        yield f"attempt {number}", _attempt_text(attempt, row.queued_at)
    if waiting:
        yield "waits", waiting
    if row.finished_at:
        yield "ended", f"{_when(row.finished_at)}, {ending(row)}"


def _attempt_text(attempt: Attempt, queued_at: int) -> str:
    text = attempt.reason or f"on {attempt.worker_id}"
    if attempt.leased_at:
        waited = max(0, attempt.leased_at - queued_at) / 1e6
        text = f"{waited:.3g} s after it was queued {text}"
    if not attempt.end:
        return f"{text}; it runs"
    if not attempt.leased_at:
        return f"{text}; {attempt.end}"
    return f"{text}; {attempt.end} after {(attempt.ended_at - attempt.leased_at) / 1e6:.3g} s"


def _when(microseconds: int) -> str:
    return time_text(microseconds / 1e6)
