"""What a simulation plays: actions that come and last, workers that die, fleets that grow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reapi.scheduler.model import Properties


@dataclass(frozen=True, slots=True)
class TraceAction:
    """Queued at `at`, it takes `duration` on a worker. Actions with equal `inputs` are alike."""

    at: int
    duration: int
    inputs: str
    tenant: str = ""
    invocation: str = ""
    target: str = ""
    mnemonic: str = ""
    properties: Properties = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class WorkerFails:
    """The process of worker `number`, from 0, dies at `at`; a new one connects after `away`."""

    at: int
    number: int
    away: int


@dataclass(frozen=True, slots=True)
class FleetResized:
    """From `at` on there are so many workers; those beyond finish what they run."""

    at: int
    workers: int


Step = TraceAction | WorkerFails | FleetResized


@dataclass(frozen=True)
class Trace:
    """Steps in the order of their times, which are microseconds since the beginning."""

    steps: Sequence[Step]
    # Read, but not to be played: cached, or never run.
    skipped: int = 0

    @property
    def properties(self) -> Properties:
        """All that any action asks for: what every simulated worker offers."""
        wanted = {
            pair for step in self.steps if isinstance(step, TraceAction) for pair in step.properties
        }
        return tuple(sorted(wanted))


def trace_of(steps: Iterable[Step], skipped: int = 0) -> Trace:
    """A trace of steps in any order."""
    return Trace(sorted(steps, key=lambda step: step.at), skipped)
