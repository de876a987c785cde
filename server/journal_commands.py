"""`reapi-server scheduler`: what the scheduler remembers."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition, NotFound, ReapiError
from reapi.scheduler.journal_file import write_journal
from reapi.scheduler.journal_store import Journaled
from reapi.scheduler.sqlite_journal import MIGRATIONS, SqliteJournal

from .config import ServerConfig, load_config


@click.group()
def scheduler() -> None:
    """Looks into the scheduler's journal."""


@scheduler.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="As for `serve`.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="As for `serve`."
)
def export(file: Path, config_file: Path | None, data_dir: Path | None) -> None:
    """Writes the journal to a new FILE, for `reapi-cli scheduler replay`.

    The servers may be running. The file holds what clients asked for, and who they are.
    """
    flags: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    try:
        journaled = asyncio.run(_journaled(load_config(config_file, flags)))
        try:
            write_journal(file, journaled)
        except OSError as error:
            raise FailedPrecondition(f"cannot write {file}: {error}") from error
    except ReapiError as error:
        click.echo(f"reapi-server: {error.message}", err=True)
        sys.exit(1)
    click.echo(f"{len(journaled.events):,} events, with the state before them, are in {file}")


async def _journaled(config: ServerConfig) -> Journaled:
    dsn_file = config.storage.state.dsn_file
    if dsn_file is None:
        path = config.data_dir / "scheduler.db"
        if not path.exists():
            raise NotFound(f"there is no {path}: is data_dir right?")
        async with Database(path, MIGRATIONS) as database:
            return await SqliteJournal(database).load()
    from reapi.core.postgresql.dsn import read_dsn
    from reapi.core.postgresql.pool import PostgresqlPool
    from reapi.scheduler.postgresql_journal import export_journal

    async with PostgresqlPool(read_dsn(dsn_file), max_connections=1) as pool:
        return await export_journal(pool, config.scheduler.shard_name)
