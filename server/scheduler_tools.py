"""`reapi-cli scheduler`: the scheduler's core without a server, on what was and on what might be.

As everywhere in `reapi-cli`, what takes long to import is imported by the command that runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reapi.clients.cli.parameters import PairType, json_option
from reapi.clients.cli.report import print_columns, print_json

if TYPE_CHECKING:
    from reapi.scheduler.simulation.synthetic import Shape
    from reapi.scheduler.simulation.trace import Trace

_DIFFERENT = 1
_SYNTHETIC = "synthetic"


@click.group()
def scheduler() -> None:
    """Replay a scheduler's decisions; simulate a fleet. No server is needed."""


@scheduler.command(
    epilog="\b\nExamples:\n  reapi-cli scheduler replay reapi-data/scheduler.db"
    "\n  reapi-cli scheduler replay /var/lib/reapi/record"
)
@click.argument("journal", type=click.Path(path_type=Path))
@json_option
def replay(journal: Path, as_json: bool) -> None:
    """Repeat all decisions of a JOURNAL and stop at the first difference.

    JOURNAL is a scheduler.db, a file of `reapi-server scheduler export`, or the folder that
    scheduler.record_dir names. It is not changed, and a server may be writing it.

    Ends with 1 if this version decides otherwise than the one that wrote the journal.
    """
    from reapi.core.errors import ReapiError
    from reapi.scheduler.journal_file import read_journal
    from reapi.scheduler.replay import replay as replay_rows
    from reapi.scheduler.replay_report import replayed_json, replayed_lines

    try:
        replayed = replay_rows(read_journal(journal))
    except ReapiError as error:
        raise click.ClickException(error.message) from error
    except ValueError as error:
        raise click.ClickException(f"cannot replay {journal}: {error}") from error
    if as_json:
        print_json(replayed_json(replayed))
    else:
        for line in replayed_lines(replayed):
            click.echo(line)
    if replayed.difference is not None:
        click.get_current_context().exit(_DIFFERENT)


@scheduler.command(
    epilog="\b\nExamples:\n  reapi-cli scheduler simulate --policy rendezvous --policy modulo"
    "\n  reapi-cli history --json > day.json && reapi-cli scheduler simulate --trace day.json"
    "\n  reapi-cli scheduler simulate --workers 200 --plot day.png"
)
@click.option("--workers", default=1000, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--slots", default=4, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--trace",
    "trace_name",
    default=_SYNTHETIC,
    show_default=True,
    metavar="FILE|synthetic",
    help="Actions, failures and changes of the fleet; see the README.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(["rendezvous", "modulo"]),
    default=["rendezvous"],
    help="How workers are chosen; may be repeated. [default: rendezvous]",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=PairType(),
    metavar="TENANT=N",
    help="Of a tenant, beside the others, which have 1; may be repeated.",
)
@click.option(
    "--hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0.1, 24 * 31),
    help="How long a synthetic trace is, from midnight on.",
)
@click.option(
    "--actions",
    default=150_000,
    show_default=True,
    type=click.IntRange(1, 10_000_000),
    help="How many it has.",
)
@click.option(
    "--load",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0.001, 10),
    help="Its actions are so long that they fill this share of all slots.",
)
@click.option("--seed", default=1, show_default=True, type=int, help="Another one, another day.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write a PNG as well.")
@json_option
def simulate(
    workers: int,
    slots: int,
    trace_name: str,
    policies: tuple[str, ...],
    weights: tuple[tuple[str, str], ...],
    picture: Path | None,
    as_json: bool,
    **shape: Any,
) -> None:
    """Play a day of a fleet to the real scheduler core, in virtual time.

    A synthetic trace is of the tenants app, infra and research, with builds small and huge, more by
    day than by night, some workers that die, and a tenth more workers in the afternoon. A file has
    its own times.
    """
    from reapi.core.errors import ReapiError
    from reapi.scheduler.simulation.plot import check_plotting, plot
    from reapi.scheduler.simulation.report import report_rows
    from reapi.scheduler.simulation.simulate import simulate as play
    from reapi.scheduler.simulation.synthetic import Shape

    try:
        if picture is not None:
            check_plotting()
        weighted = [_weight(*pair) for pair in weights]
        trace = _trace(trace_name, Shape(workers, slots, **shape))
        results = [
            play(trace, policy, workers=workers, slots=slots, weights=weighted)
            for policy in dict.fromkeys(policies)
        ]
        if picture is not None:
            plot(results, f"{workers:,} workers with {slots} slots, {trace_name} trace", picture)
    except ReapiError as error:
        raise click.ClickException(error.message) from error
    if as_json:
        print_json([one.json() for one in results])
        return
    if trace.skipped:
        click.echo(f"{trace.skipped:,} entries of the trace never ran and are left out", err=True)
    print_columns(list(report_rows(results)))


def _trace(name: str, shape: "Shape") -> "Trace":
    from reapi.scheduler.simulation.synthetic import synthetic_trace
    from reapi.scheduler.simulation.trace_file import read_trace

    return synthetic_trace(shape) if name == _SYNTHETIC else read_trace(Path(name))


def _weight(tenant: str, text: str) -> tuple[str, int]:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise click.BadParameter(f"the weight of {tenant} must be a whole number from 1 on")
    return tenant, int(text)
