"""Which job may start when: synchronous decisions, without tasks or time."""

from collections.abc import Iterable

from .outcome import State
from .plan import Job


class Schedule:
    """The states of jobs. A job that did not succeed stops those that need it, and nobody else.

    With `fails_fast` it stops all that have not started; `is_ending` says so from then on.
    """

    def __init__(self, jobs: Iterable[Job], *, fails_fast: bool) -> None:
        self.states = {job: State.WAITING for job in jobs}
        self._fails_fast = fails_fast
        self.is_ending = False
        self._missing = {job: len(job.needs) for job in self.states}
        self._dependents: dict[Job, list[Job]] = {}
        for job in self.states:
            for need in job.needs:
                self._dependents.setdefault(need, []).append(job)

    def note_failure(self) -> None:
        """An action of a running job has failed; the job may take a while to end."""
        self.is_ending = self._fails_fast

    def start(self) -> list[Job]:
        """The jobs that may start at once; they count as running."""
        return self._started(job for job in self.states if not self._missing[job])

    def end(self, job: Job, state: State) -> tuple[list[Job], list[Job]]:
        """Notes how a running job ended; returns the jobs that may start now, which count as
        running, and those that never will, which are stopped."""
        assert self.states[job] is State.RUNNING
        assert state.is_end
        self.states[job] = state
        if state is not State.SUCCEEDED:
            self.note_failure()
            return [], self._stop(job)
        ready = []
        for dependent in self._dependents.get(job, ()):
            self._missing[dependent] -= 1
            if not self._missing[dependent] and self.states[dependent] is State.WAITING:
                ready.append(dependent)
        return self._started(ready), []

    def _started(self, jobs: Iterable[Job]) -> list[Job]:
        started = list(jobs)
        for job in started:
            self.states[job] = State.RUNNING
        return started

    def _stop(self, job: Job) -> list[Job]:
        stopped = []
        todo = list(self.states) if self._fails_fast else list(self._dependents.get(job, ()))
        while todo:
            one = todo.pop()
            if self.states[one] is State.WAITING:
                self.states[one] = State.STOPPED
                stopped.append(one)
                todo += self._dependents.get(one, ())
        return stopped
