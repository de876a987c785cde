"""What `reapi-cli pipeline` says of a plan: while it runs on stderr, at its end on stdout."""

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from .progress_line import ProgressLine, size_text
from .report import print_columns, result_json

if TYPE_CHECKING:
    from reapi.clients.model import Progress, RunProgress
    from reapi.clients.pipeline.outcome import ActionOutcome, JobOutcome, PlanOutcome
    from reapi.clients.pipeline.run import PlanProgress

_MOST_WORKERS = 3


class PipelineReporter:
    """One line on a terminal; elsewhere a line for each job that ends. Failures at once on both."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def transfer(self, progress: "RunProgress") -> None:
        self._line.show_run(progress)

    def uploaded(self, progress: "Progress", seconds: float) -> None:
        self._say(
            f"uploaded {progress.blobs_done} files, {size_text(progress.bytes_done)}"
            f" in {seconds * 1000:.0f} ms"
        )

    def progress(self, progress: "PlanProgress") -> None:
        self._line.show(
            f"{progress.queued} queued, {progress.running} running, {progress.done} done"
            f" ({progress.cached} cached), {progress.remaining} remaining"
        )

    def ended(self, outcome: "JobOutcome") -> None:
        from reapi.clients.pipeline.outcome import State

        is_bad = outcome.state in (State.FAILED, State.BROKEN)
        if is_bad or not self._line.is_shown:
            cached = f", {outcome.cached} cached" if outcome.cached else ""
            self._say(f"{outcome.state:<9} {outcome.job.label} ({outcome.seconds:.1f} s{cached})")
        if is_bad:
            self._say_why(outcome)

    def _say_why(self, outcome: "JobOutcome") -> None:
        if outcome.error:
            self._say(f"reapi-cli: {outcome.job.label}: {outcome.error}")
        for command, action in zip(outcome.job.commands, outcome.actions, strict=False):
            if action is not None and not action.has_succeeded:
                self._say(f"$ {_words(command)}")
                _write_logs(action)
                self._say(f"reapi-cli: {outcome.job.label}: {_reason(action)}")

    def _say(self, text: str) -> None:
        self._line.clear()
        click.echo(text, err=True)


def _write_logs(action: "ActionOutcome") -> None:
    """The end of what a failed command printed, as it is."""
    if action.result is None:
        return
    for data in (action.result.stdout, action.result.stderr):
        sys.stderr.buffer.write(data)
        if data and not data.endswith(b"\n"):
            sys.stderr.buffer.write(b"\n")
    sys.stderr.flush()


def _reason(action: "ActionOutcome") -> str:
    if action.error or action.result is None:
        return action.error
    where = f" on {action.result.worker}" if action.result.worker else ""
    message = f": {action.result.message}" if action.result.message else ""
    return f"exit code {action.result.exit_code}{where}{message}"


def _words(command: tuple[str, ...]) -> str:
    """A command for people: what a shell was given is shown as it was written."""
    if command[:2] == ("/bin/sh", "-ec"):
        return command[2].rstrip("\n")
    return shlex.join(command)


def print_outcome(outcome: "PlanOutcome", price_per_slot_hour: float) -> None:
    """The table of stages, and what all took together."""
    rows = [("STAGE", "RESULT", "ACTIONS", "CACHED", "SECONDS", "SLOT-SECONDS", "WHERE")]
    for name, jobs in _stages(outcome).items():
        workers = sorted({worker for job in jobs for worker in job.workers})
        cached = sum(job.cached for job in jobs)
        rows.append(
            (
                name,
                _result(jobs),
                str(sum(len(job.job.commands) for job in jobs)),
                str(cached),
                f"{_seconds(jobs):.1f}",
                f"{sum(job.slot_seconds for job in jobs):.1f}",
                _where(workers) or ("cache" if cached else "-"),
            )
        )
    if outcome.jobs:
        print_columns(rows)
    for one in outcome.left_out:
        click.echo(f"left out: {one.label} ({one.reason})")
    if outcome.downloaded_blobs:
        size = size_text(outcome.downloaded_bytes)
        click.echo(f"downloaded {outcome.downloaded_blobs} blobs, {size}")
    cached = sum(job.cached for job in outcome.jobs)
    run = sum(len(job.results) for job in outcome.jobs) - cached
    used = sum(job.slot_seconds for job in outcome.jobs)
    cost = f", ${used / 3600 * price_per_slot_hour:.4f}" if price_per_slot_hour else ""
    click.echo(
        f"{outcome.seconds:.1f} s: {run} actions run, {cached} from the cache,"
        f" {used:.1f} slot-seconds{cost}"
    )
    if outcome.error:
        click.echo(f"reapi-cli: {outcome.error}", err=True)


def _stages(outcome: "PlanOutcome") -> dict[str, list["JobOutcome"]]:
    """Jobs by stage, which has the name of its pipeline if there are several."""
    several = len({one.job.pipeline for one in outcome.jobs}) > 1
    stages: dict[str, list[JobOutcome]] = {}
    for one in outcome.jobs:
        name = f"{one.job.pipeline}/{one.job.stage}" if several else one.job.stage
        stages.setdefault(name, []).append(one)
    return stages


def _result(jobs: list["JobOutcome"]) -> str:
    """How a stage ended: one word, or each with its number where jobs differ."""
    states: dict[str, int] = {}
    for job in jobs:
        states[job.state.value] = states.get(job.state.value, 0) + 1
    if len(states) == 1:
        return next(iter(states))
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _seconds(jobs: list["JobOutcome"]) -> float:
    """From the start of the first job to the end of the last; stopped ones did neither."""
    run = [job for job in jobs if job.ended]
    return max(job.ended for job in run) - min(job.began for job in run) if run else 0.0


def _where(workers: list[str]) -> str:
    more = len(workers) - _MOST_WORKERS
    shown = ", ".join(workers[:_MOST_WORKERS])
    return f"{shown} and {more} more" if more > 0 else shown


def outcome_json(outcome: "PlanOutcome", price_per_slot_hour: float) -> dict[str, Any]:
    """All of an outcome, for programs."""
    used = sum(job.slot_seconds for job in outcome.jobs)
    return {
        "seconds": outcome.seconds,
        "slot_seconds": used,
        "cost": round(used / 3600 * price_per_slot_hour, 6),
        "error": outcome.error,
        "uploaded_blobs": outcome.uploaded_blobs,
        "uploaded_bytes": outcome.uploaded_bytes,
        "downloaded_blobs": outcome.downloaded_blobs,
        "downloaded_bytes": outcome.downloaded_bytes,
        "jobs": [_job_json(one) for one in outcome.jobs],
        "left_out": [{"name": one.label, "reason": one.reason} for one in outcome.left_out],
    }


def _job_json(outcome: "JobOutcome") -> dict[str, Any]:
    job = outcome.job
    return {
        "name": job.label,
        "pipeline": job.pipeline,
        "stage": job.stage,
        "matrix": dict(job.values),
        "needs": [need.label for need in job.needs],
        "state": outcome.state.value,
        "error": outcome.error,
        "seconds": outcome.seconds,
        "slot_seconds": outcome.slot_seconds,
        "cached": outcome.cached,
        "workers": outcome.workers,
        "actions": [
            _action_json(command, action)
            for command, action in zip(job.commands, outcome.actions, strict=False)
        ],
    }


def _action_json(command: tuple[str, ...], action: "ActionOutcome | None") -> dict[str, Any]:
    """A command and its result; what one prints that succeeds is kept by the server alone."""
    said: dict[str, Any] = {"command": list(command), "error": "", "result": None}
    if action is not None:
        said["error"] = action.error
        if action.result is not None:
            said["result"] = result_json(action.result)
            if action.has_succeeded:
                del said["result"]["stdout"], said["result"]["stderr"]
    return said
