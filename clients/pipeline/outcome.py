"""What came of the jobs of a plan."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from reapi.clients.model import RunResult

from .plan import Job, LeftOut


class State(enum.StrEnum):
    """How far a job is, or how it ended."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """One of its commands did: it ended with another exit code than 0, or took too long."""
    BROKEN = "broken"
    """The service or the plan could not do it."""
    STOPPED = "stopped"
    """Something that it needs did not succeed, or all was ended."""

    @property
    def is_end(self) -> bool:
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """What came of one command; `error` says why there is no result, or that it timed out."""

    result: RunResult | None
    error: str = ""

    @property
    def has_succeeded(self) -> bool:
        return self.result is not None and self.result.exit_code == 0 and not self.error


@dataclass(slots=True)
class JobOutcome:
    """What came of a job; `actions` are in the order of its commands, as far as they ended.

    `began`, when its first action was let in, and `ended` are of the event loop's clock.
    """

    job: Job
    state: State = State.WAITING
    actions: list[ActionOutcome | None] = field(default_factory=list)
    error: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def results(self) -> list[RunResult]:
        return [one.result for one in self.actions if one is not None and one.result is not None]

    @property
    def cached(self) -> int:
        return sum(result.cached for result in self.results)

    @property
    def slot_seconds(self) -> float:
        """What its actions took of workers now, transfers included; the cache takes nothing."""
        return sum(_slot_seconds(result) for result in self.results if not result.cached)

    @property
    def workers(self) -> list[str]:
        """Where its actions ran now."""
        return sorted({one.worker for one in self.results if not one.cached and one.worker})


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """What came of a plan; `error` says why outputs could not be downloaded."""

    jobs: Sequence[JobOutcome]
    left_out: Sequence[LeftOut]
    seconds: float
    uploaded_blobs: int
    uploaded_bytes: int
    downloaded_blobs: int
    downloaded_bytes: int
    error: str = ""

    @property
    def has_succeeded(self) -> bool:
        return not self.error and all(one.state is State.SUCCEEDED for one in self.jobs)

    @property
    def has_failed(self) -> bool:
        """A command failed: to run the same again is of no use."""
        return any(one.state is State.FAILED for one in self.jobs)


def _slot_seconds(result: RunResult) -> float:
    times = result.timings
    return sum(filter(None, (times.input_fetch, times.execution, times.output_upload)))
