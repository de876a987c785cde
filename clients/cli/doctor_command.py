"""`reapi-cli doctor`: what works between this machine and its server, and what to do if not."""

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .parameters import json_option
from .report import print_json
from .session import current_settings, explain

if TYPE_CHECKING:
    from reapi.clients.doctor import Check

EPILOG = """\b
Example:
  reapi-cli --server grpc://host:8980 doctor
\b
Exit codes: 0 all is well, 1 something is not, 125 the settings are wrong.
"""


@click.command(epilog=EPILOG)
@json_option
def doctor(as_json: bool) -> int:
    """Try all that a client needs: the server, blobs, results, execution, and a compile.

    With read_only = true, only what reads.

    Each line says what was tried; where it failed, the next one says what to do.
    """
    from reapi.core.errors import ReapiError

    try:
        checks = asyncio.run(_examine(is_shown=not as_json))
    except ReapiError as error:
        raise click.ClickException(explain(error)) from error
    if as_json:
        print_json([asdict(check) for check in checks])
    return 0 if all(check.is_ok for check in checks) else 1


async def _examine(*, is_shown: bool) -> "list[Check]":
    from reapi.clients.compile.doctor import examine_compiles
    from reapi.clients.compile.settings import SettingsOfCalls
    from reapi.clients.doctor import Doctor

    settings = current_settings()
    read_only = SettingsOfCalls().get(os.getcwd(), os.environ).compile.read_only
    examinations = [Doctor(settings, read_only=read_only).examine()]
    if not read_only:
        examinations.append(examine_compiles(settings))
    checks = []
    for examination in examinations:
        async for check in examination:
            checks.append(check)
            if is_shown:
                _print(check)
        if not all(check.is_ok for check in checks):
            break
    return checks


def _print(check: "Check") -> None:
    mark = "ok  " if check.is_ok else "FAIL"
    click.echo(f"{mark}  {check.name:<11} {check.message} ({check.seconds * 1000:.0f} ms)")
    if check.advice:
        click.echo(f"{'':<18}{check.advice}")
