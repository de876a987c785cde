"""Which job may start when, and what a failure stops."""

from pathlib import Path

from reapi.clients.pipeline.outcome import State
from reapi.clients.pipeline.plan import Job
from reapi.clients.pipeline.schedule import Schedule
from tests.unit.clients.pipeline.plans import labels, plan_of

DIAMOND = """
stages:
  top: {commands: [x]}
  left: {needs: [top], commands: [x]}
  right: {needs: [top], commands: [x]}
  bottom: {needs: [left, right], commands: [x]}
  after: {needs: [bottom], commands: [x]}
  alone: {commands: [x]}
"""


def jobs_of(tmp_path: Path) -> dict[str, Job]:
    return {job.label: job for job in plan_of(tmp_path, DIAMOND).jobs}


def test_a_job_starts_when_the_last_of_those_it_needs_has_succeeded(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    schedule = Schedule(jobs.values(), fails_fast=False)
    assert sorted(labels(schedule.start())) == ["alone", "top"]
    ready, stopped = schedule.end(jobs["top"], State.SUCCEEDED)
    assert (sorted(labels(ready)), stopped) == (["left", "right"], [])
    assert schedule.end(jobs["left"], State.SUCCEEDED) == ([], [])
    ready, _ = schedule.end(jobs["right"], State.SUCCEEDED)
    assert labels(ready) == ["bottom"]


def test_V2_a_failure_stops_all_that_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    schedule = Schedule(jobs.values(), fails_fast=False)
    schedule.start()
    schedule.end(jobs["top"], State.SUCCEEDED)
    ready, stopped = schedule.end(jobs["left"], State.FAILED)
    assert (ready, sorted(labels(stopped))) == ([], ["after", "bottom"])
    assert schedule.end(jobs["right"], State.SUCCEEDED) == ([], [])
    assert not schedule.is_ending
    assert {job.label: state.value for job, state in schedule.states.items()} == {
        "top": "succeeded",
        "left": "failed",
        "right": "succeeded",
        "bottom": "stopped",
        "after": "stopped",
        "alone": "running",
    }


def test_failing_fast_stops_all_that_has_not_started(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    schedule = Schedule(jobs.values(), fails_fast=True)
    schedule.start()
    ready, stopped = schedule.end(jobs["alone"], State.BROKEN)
    assert (ready, sorted(labels(stopped))) == ([], ["after", "bottom", "left", "right"])
    assert schedule.is_ending
    assert schedule.end(jobs["top"], State.SUCCEEDED) == ([], [])
