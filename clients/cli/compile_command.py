"""`reapi-cli compile`: all compiles of a build, from its compilation database."""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .exit_codes import INTERRUPTED
from .parameters import json_option
from .progress_line import ProgressLine, size_text
from .report import print_json
from .session import explain

if TYPE_CHECKING:
    from reapi.clients.compile.batch import Account
    from reapi.clients.compile.model import Finished

_SHOWN_EVERY_SECONDS = 0.1
_MOST_NAMED = 10

EPILOG = """\b
Example:
  cmake -S . -B build -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
  reapi-cli compile -p build -j 100
\b
Exit codes: 0 all objects are there; 1 a source does not compile; 125 reapi-cli failed,
130 interrupted. What the service cannot do is done here, with a warning (docs/compile.md).
"""


@click.command("compile", epilog=EPILOG)
@click.option(
    "-p",
    "database",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="compile_commands.json, or the directory that has it.  [default: here]",
)
@click.option(
    "-j",
    "at_once",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many compiles may be on their way at once.",
)
@click.option("-k", "--keep-going", is_flag=True, help="Go on after a source does not compile.")
@json_option
def compile_database(database: Path, at_once: int, keep_going: bool, as_json: bool) -> int:
    """Compile what a compilation database lists, by executors and from the caches.

    The objects end where the database says, as if its commands had run here. What must run here
    does, in as many slots as this machine has processors. Interrupting (Ctrl-C) cancels what runs
    remotely, too. Settings are those of reapi-cc.
    """
    from reapi.core.errors import ReapiError

    begun = time.monotonic()
    try:
        with ProgressLine() as line:
            account = asyncio.run(_run(database, at_once, keep_going, line))
    except ReapiError as error:
        raise click.ClickException(explain(error)) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    seconds = time.monotonic() - begun
    if as_json:
        print_json(_summary_json(account, seconds))
    else:
        click.echo(_summary(account, seconds), err=True)
    return 1 if account.failures else 0


async def _run(database: Path, at_once: int, keep_going: bool, line: ProgressLine) -> "Account":
    from reapi.clients.compile.batch import Batch
    from reapi.clients.compile.database import read_database
    from reapi.clients.compile.local_slots import LocalSlots
    from reapi.clients.compile.making import make_engines
    from reapi.clients.compile.settings import SettingsOfCalls, load_daemon_settings

    environment = dict(os.environ)
    umask = os.umask(0o022)
    os.umask(umask)
    wants_colour = sys.stderr.isatty()
    invocations = read_database(
        database, environment=environment, umask=umask, wants_colour=wants_colour
    )
    settings = load_daemon_settings(environment)
    mine = SettingsOfCalls().get(os.getcwd(), environment).compile
    slots = LocalSlots(settings.local_slots)
    screen = _Screen(line)
    failures: Counter[str] = Counter()

    def count(failure: str) -> None:
        failures[failure] += 1

    async with make_engines(settings, slots, count, tool_name="reapi-cli") as engines:
        batch = Batch(
            engines,
            slots,
            at_once=at_once,
            keeps_going=keep_going,
            price_per_slot_hour=mine.price_per_slot_hour,
            report=screen.show,
            said=screen.say,
        )
        account = await batch.run(invocations)
    account.troubles |= failures
    return account


class _Screen:
    """The progress line, and above it what compilers say."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line
        self._shown_at = 0.0
        self._has_told_of_upload = False

    def show(self, account: "Account") -> None:
        now = time.monotonic()
        if now - self._shown_at >= _SHOWN_EVERY_SECONDS:
            self._shown_at = now
            self._line.show(_progress(account))

    def say(self, source: str, finished: "Finished") -> None:
        """What a compiler printed; which source that was, if it failed."""
        if not finished.exit_code and not finished.stdout and not finished.stderr:
            return
        self._line.clear()
        if finished.exit_code:
            click.echo(f"FAILED: {source} (exit code {finished.exit_code})", err=True)
        sys.stdout.buffer.write(finished.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(finished.stderr)
        sys.stderr.flush()


def _progress(account: "Account") -> str:
    parts = [
        f"{account.queued} queued",
        f"{account.running} running",
        f"{account.done}/{account.total} done",
        f"{account.remaining} remaining",
        f"{account.hit_rate:.0%} hits",
        *_spent(account),
    ]
    if account.failures:
        parts.append(f"{len(account.failures)} failed")
    return " · ".join(parts)


def _spent(account: "Account") -> list[str]:
    if not account.slot_seconds:
        return []
    cost = account.cost
    return [f"{account.slot_seconds:.1f} slot-seconds", *([f"${cost:.4f}"] if cost else [])]


def _summary(account: "Account", seconds: float) -> str:
    """A line or two for people, at the end."""
    ways = [f"{account.hits} from a cache ({account.hit_rate:.0%})"]
    ways += [f"{account.made} compiled"] if account.made else []
    ways += [f"{account.here} run here"] if account.here else []
    lines = [f"{account.done} of {account.total} done in {seconds:.2f} s: {', '.join(ways)}"]
    if account.uploaded_blobs:
        lines.append(
            f"uploaded {account.uploaded_blobs} files, {size_text(account.uploaded_bytes)} "
            f"in {account.upload_seconds * 1000:.0f} ms"
        )
    if spent := _spent(account):
        lines.append(f"executors worked for {', '.join(spent)}")
    for trouble, count in account.troubles.items():
        lines.append(f"warning: {trouble} ({count} files)")
    if account.failures:
        sources = ", ".join(failure.source for failure in account.failures[:_MOST_NAMED])
        more = len(account.failures) - _MOST_NAMED
        lines.append(f"failed: {sources}{f' and {more} more' if more > 0 else ''}")
    return "\n".join(lines)


def _summary_json(account: "Account", seconds: float) -> dict[str, Any]:
    return {
        "total": account.total,
        "done": account.done,
        "hits": account.hits,
        "compiled": account.made,
        "run_here": account.here,
        "seconds": round(seconds, 3),
        "uploaded_blobs": account.uploaded_blobs,
        "uploaded_bytes": account.uploaded_bytes,
        "upload_seconds": round(account.upload_seconds, 3),
        "slot_seconds": round(account.slot_seconds, 3),
        "cost": round(account.cost, 6),
        "troubles": account.troubles,
        "failures": [
            {
                "name": failure.source,
                "directory": failure.invocation.working_directory,
                "exit_code": failure.finished.exit_code,
                "stderr": failure.finished.stderr.decode(errors="replace"),
            }
            for failure in account.failures
        ],
    }
