"""Plans for tests: written to a file, loaded, and made for a change."""

from pathlib import Path
from textwrap import dedent

import pytest

from reapi.clients.pipeline.checking import check
from reapi.clients.pipeline.loading import LoadedPipeline, load_plan
from reapi.clients.pipeline.mistakes import InvalidPlan
from reapi.clients.pipeline.plan import Job, Plan, make_plan
from reapi.clients.pipeline.rules import Change


def load(folder: Path, text: str) -> list[LoadedPipeline]:
    path = folder / "plan.yaml"
    path.write_text(dedent(text))
    return load_plan(path)


def plan_of(folder: Path, text: str, change: Change | None = None) -> Plan:
    return make_plan(load(folder, text), change or Change(), "team/app")


def mistakes_in(folder: Path, text: str) -> list[str]:
    """The mistakes of a plan that must have some, without the folder."""
    with pytest.raises(InvalidPlan) as raised:
        check(load(folder, text))
    return [str(one).removeprefix(f"{folder}/plan.yaml:") for one in raised.value.mistakes]


def labels(jobs: list[Job] | tuple[Job, ...]) -> list[str]:
    return [job.label for job in jobs]
