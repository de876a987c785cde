"""`reapi-cli pipeline`: the stages of a plan file, each command of them an action."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .default_command import group_with_default
from .exit_codes import FAILED
from .parameters import json_option
from .pipeline_report import PipelineReporter, outcome_json, print_outcome
from .progress_line import ProgressLine
from .report import print_json
from .session import explained_errors, with_settings

if TYPE_CHECKING:
    from reapi.clients.pipeline.outcome import PlanOutcome
    from reapi.clients.pipeline.plan import Plan
    from reapi.clients.pipeline.rules import Change
    from reapi.clients.settings import Settings

COMMAND_FAILED = 1

EPILOG = """\b
Examples:
  reapi-cli pipeline plan.yaml
  reapi-cli pipeline plan.yaml --dry-run --branch main --event push
\b
Exit codes: 0 all that was to run succeeded, 1 a command failed, 125 the service, the plan or
reapi-cli failed and no command did, 130 interrupted.
"""

plan_argument = click.argument("path", metavar="PLAN", type=click.Path(path_type=Path))


@click.group(cls=group_with_default("run"), epilog=EPILOG)
def pipeline() -> None:
    """Run the stages of a plan (`pipeline plan.yaml`); check plans; print their schema.

    PLAN is a YAML file, or a directory of them.
    """


@pipeline.command(epilog=EPILOG)
@plan_argument
@click.option("--dry-run", is_flag=True, help="Draw the graph and run nothing.")
@click.option("--branch", metavar="NAME", help="For rules; as the CI or git says, if not given.")
@click.option("--event", metavar="NAME", help="For rules: push, pull_request, ...")
@click.option("--tag", metavar="NAME", help="For rules: the tag of the commit.")
@click.option(
    "--changed-path", "changed_paths", multiple=True, metavar="PATH", help="For rules; repeat."
)
@click.option(
    "--keep-going/--fail-fast",
    default=True,
    help="After a failure run what does not depend on it (default), or start nothing more.",
)
@click.option(
    "--max-parallel",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Actions at once, whatever the plan says.",
)
@click.option("--no-cache", is_flag=True, help="Run actions even if their results are cached.")
@json_option
def run(
    path: Path,
    dry_run: bool,
    branch: str | None,
    event: str | None,
    tag: str | None,
    changed_paths: tuple[str, ...],
    keep_going: bool,
    max_parallel: int | None,
    no_cache: bool,
    as_json: bool,
) -> int:
    """Run a plan remotely, as much of it at once as the fleet and the plan allow.

    Paths in the plan are relative to the current directory, the checkout. What stages make stays
    on the server; only what the plan says to download comes back. Interrupting (Ctrl-C) cancels
    what runs.
    """
    from reapi.clients.compile.settings import SettingsOfCalls
    from reapi.clients.pipeline.drawing import drawn
    from reapi.clients.pipeline.rules import Change

    given = Change(branch, event, tag, changed_paths or None)
    with _mistakes_shown():
        plan = _plan_for(path, given)
    if dry_run:
        click.echo("\n".join(drawn(plan)))
        return 0
    outcome = _run(
        plan, fails_fast=not keep_going, most_at_once=max_parallel, skip_cache_lookup=no_cache
    )
    exit_code = _exit_code(outcome)
    with explained_errors():
        price = SettingsOfCalls().get(os.getcwd(), os.environ).compile.price_per_slot_hour
    if as_json:
        print_json(outcome_json(outcome, price) | {"exit_code": exit_code})
    else:
        print_outcome(outcome, price)
    return exit_code


@pipeline.command(epilog="\b\nExample:\n  reapi-cli pipeline validate plan.yaml")
@click.argument(
    "paths", metavar="PLAN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
def validate(paths: tuple[Path, ...]) -> None:
    """Check plans without running anything.

    Each mistake is a line FILE:LINE:COLUMN: with what to do.
    """
    from reapi.clients.pipeline.checking import check
    from reapi.clients.pipeline.loading import load_plan

    for path in paths:
        with _mistakes_shown():
            pipelines = load_plan(path)
            check(pipelines)
        stages = sum(len(one.model.stages) for one in pipelines)
        click.echo(f"{path}: no mistakes (pipelines: {len(pipelines)}, stages: {stages})")


@pipeline.command()
def schema() -> None:
    """Print the JSON schema of plans, for editors."""
    from reapi.clients.pipeline.model import schema

    click.echo(json.dumps(schema(), indent=2))


@contextmanager
def _mistakes_shown() -> Iterator[None]:
    """Prints the mistakes of a plan as compilers do, so that editors find their places."""
    from reapi.clients.pipeline.mistakes import InvalidPlan

    with explained_errors():
        try:
            yield
        except InvalidPlan as error:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
            raise click.exceptions.Exit(FAILED) from error


def _plan_for(path: Path, given: "Change") -> "Plan":
    from reapi.clients.pipeline.checkout import change_of, repository_of
    from reapi.clients.pipeline.loading import load_plan
    from reapi.clients.pipeline.plan import make_plan

    pipelines = load_plan(path)
    root = Path.cwd()
    return make_plan(pipelines, change_of(root, pipelines, given), repository_of(root))


def _run(
    plan: "Plan", *, fails_fast: bool, most_at_once: int | None, skip_cache_lookup: bool
) -> "PlanOutcome":
    from reapi.clients.file_digests import default_cache_path
    from reapi.clients.pipeline.remote import Remote
    from reapi.clients.pipeline.run import RunOptions, run_plan
    from reapi.core.digest import function_named

    options = RunOptions(
        root=Path.cwd(),
        cache_path=default_cache_path(),
        fails_fast=fails_fast,
        skip_cache_lookup=skip_cache_lookup,
        most_at_once=most_at_once,
    )

    async def work(settings: "Settings") -> "PlanOutcome":
        remote = Remote(
            settings.server,
            instance_name=settings.instance_name,
            token=settings.read_token(),
            tls=settings.tls,
            function=function_named(settings.digest_function),
        )
        with ProgressLine() as line:
            async with remote:
                return await run_plan(remote, plan, options, PipelineReporter(line))

    return with_settings(work)


def _exit_code(outcome: "PlanOutcome") -> int:
    if outcome.has_succeeded:
        return 0
    return COMMAND_FAILED if outcome.has_failed else FAILED
