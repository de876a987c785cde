"""`reapi-server check` and `reapi-server storage init`: what a configuration names, tried."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding

from .check import check as check_all
from .check import init_storage
from .config import load_config
from .storage_commands import storage

_config_option = click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(path_type=Path),
    help="Settings, in TOML. REAPI_<SECTION>__<KEY> in the environment overlays them.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="An array on stdout.")


@click.command()
@_config_option
@_json_option
def check(config_file: Path, as_json: bool) -> None:
    """Tries everything that the configuration names, and says what fails.

    One line for each check; what to do stands below. Nothing is changed. Ends with 1 when
    something failed.
    """
    try:
        _show(check_all(load_config(config_file, {})), as_json=as_json)
    except ReapiError as error:
        _show(_invalid(error), as_json=as_json)


@storage.command()
@_config_option
@_json_option
def init(config_file: Path, as_json: bool) -> None:
    """Makes the bucket that the configuration names, unless it is there.

    A lifecycle rule that ends unfinished uploads is set where the store takes it.
    """
    try:
        _show(init_storage(load_config(config_file, {})), as_json=as_json)
    except ReapiError as error:
        _show(_invalid(error), as_json=as_json)


async def _invalid(error: ReapiError) -> AsyncIterator[Finding]:
    yield Finding("configuration", "failed", error.message, "see docs/configuration.md")


def _show(findings: AsyncIterator[Finding], *, as_json: bool) -> None:
    """Prints each finding as soon as it is there, and ends the process."""

    async def shown() -> list[Finding]:
        found = []
        async for finding in findings:
            found.append(finding)
            if not as_json:
                status = "FAILED" if finding.status == "failed" else finding.status
                click.echo(f"{finding.name:<20} {status:<8} {finding.text}")
                if finding.advice:
                    click.echo(f"{'':<30}{finding.advice}")
        return found

    found = asyncio.run(shown())
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found], indent=2))
    sys.exit(any(finding.status == "failed" for finding in found))
