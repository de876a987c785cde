"""Runs plans for tests, and remembers what was told of them."""

from dataclasses import dataclass, field
from pathlib import Path

from reapi.clients.model import Progress, RunProgress
from reapi.clients.pipeline.outcome import JobOutcome, PlanOutcome
from reapi.clients.pipeline.remote import Remote
from reapi.clients.pipeline.rules import Change
from reapi.clients.pipeline.run import PlanProgress, RunOptions, run_plan
from reapi.core.digest import SHA256
from tests.unit.clients.pipeline.plans import plan_of


@dataclass
class Told:
    """A watcher that keeps all that it is told."""

    most_under_way: int = 0
    ends: list[str] = field(default_factory=list)
    last: PlanProgress | None = None

    def transfer(self, progress: RunProgress) -> None:
        """Of no interest to the tests."""

    def uploaded(self, progress: Progress, seconds: float) -> None:
        """It is in the outcome, too."""

    def progress(self, progress: PlanProgress) -> None:
        self.most_under_way = max(self.most_under_way, progress.queued + progress.running)
        self.last = progress

    def ended(self, outcome: JobOutcome) -> None:
        self.ends.append(f"{outcome.job.label} {outcome.state}")


@dataclass
class Project:
    """A checkout with a server to run plans on."""

    server: str
    root: Path
    told: Told = field(default_factory=Told)

    def write(self, **files: str) -> None:
        """Files by name, in which `__` is a slash."""
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    async def run(
        self,
        text: str,
        change: Change | None = None,
        *,
        fails_fast: bool = False,
        skip_cache_lookup: bool = False,
        most_at_once: int | None = None,
    ) -> PlanOutcome:
        plan = plan_of(self.root.parent, text, change)
        options = RunOptions(
            root=self.root,
            cache_path=None,
            fails_fast=fails_fast,
            skip_cache_lookup=skip_cache_lookup,
            most_at_once=most_at_once,
        )
        remote = Remote(self.server, instance_name="", token=None, function=SHA256)
        async with remote:
            return await run_plan(remote, plan, options, self.told)


def states(outcome: PlanOutcome) -> dict[str, str]:
    """How the jobs ended, by label."""
    return {one.job.label: one.state.value for one in outcome.jobs}
