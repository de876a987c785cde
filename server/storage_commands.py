"""`reapi-server storage`: looks after what is stored."""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry

from reapi.cas.factory import open_storage
from reapi.cas.maintenance.findings import Kind
from reapi.cas.maintenance.orphans import find_orphans
from reapi.cas.maintenance.rebuild import Rebuilder
from reapi.cas.maintenance.stats import count
from reapi.cas.maintenance.verify import Verifier
from reapi.cas.storage import Storage
from reapi.core.errors import ReapiError

from .config import load_config
from .storage_config import storage_config
from .storage_report import (
    findings_lines,
    in_units,
    progress,
    show,
    statistics_lines,
)

YOUNGEST_ORPHAN_SECONDS = 3600
"""Objects without a row that are younger may belong to a write under way."""

Command = Callable[[Storage], Awaitable[bool]]


@click.group()
def storage() -> None:
    """Looks after what is stored.

    With the embedded storage, stop the server first: one process at a time may use a data
    directory. With PostgreSQL and a bucket, `rebuild` alone needs the servers stopped.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
        click.option(
            "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="As for `serve`."
        ),
        click.option(
            "--config", "config_file", type=click.Path(path_type=Path), help="As for `serve`."
        ),
    ):
        command = option(command)
    return command


@storage.command()
@_options
@click.option("--dry-run", is_flag=True, help="Only say what is wrong; change nothing.")
def verify(config_file: Path | None, data_dir: Path | None, as_json: bool, dry_run: bool) -> None:
    """Reads and hashes every blob, and compares the index with the bytes.

    Damaged and missing blobs leave the index: clients are told to upload them again. Results that
    need them leave the action cache; objects that no row names are deleted. Ends with 1 when data
    was lost, with 0 when not.
    """

    async def run(opened: Storage) -> bool:
        parts = opened.parts
        verifier = Verifier(
            parts.index, parts.objects, parts.results, parts.quarantine, repair=not dry_run
        )
        total = sum((await parts.index.total_bytes()).values())
        with progress("verifying blobs", total) as advance:
            await verifier.verify_blobs(advance)
        await verifier.verify_results(lambda _: None)
        await _sweep(opened, verifier.findings.orphaned, dry_run=dry_run)
        lines = findings_lines(verifier.findings, is_repaired=not dry_run)
        show(dataclasses.asdict(verifier.findings), lines, as_json=as_json)
        return verifier.findings.is_sound

    _run(config_file, data_dir, run)


@storage.command()
@_options
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(config_file: Path | None, data_dir: Path | None, as_json: bool, dry_run: bool) -> None:
    """Frees room now: blobs that nobody is promised any more, and objects that no row names."""

    async def run(opened: Storage) -> bool:
        orphaned = Kind()
        await _sweep(opened, orphaned, dry_run=dry_run)
        before = sum((await opened.parts.index.total_bytes()).values())
        freed = await _expired_bytes(opened) if dry_run else 0
        if not dry_run:
            async with opened.parts.index.evicting():
                await opened.parts.evictor.evict(before)
            freed = before - sum((await opened.parts.index.total_bytes()).values())
        report = {
            "expired_bytes": freed,
            "orphaned_objects": orphaned.count,
            "orphaned_bytes": orphaned.size_bytes,
            "dry_run": dry_run,
        }
        verb = "would be freed" if dry_run else "freed"
        show(
            report,
            [
                f"blobs promised to nobody: {in_units(freed)} {verb}",
                f"objects without a row:    {in_units(orphaned.size_bytes)} {verb}",
            ],
            as_json=as_json,
        )
        return True

    _run(config_file, data_dir, run)


@storage.command()
@_options
def rebuild(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Makes the index anew from the bytes alone: for an index that is lost or wrong.

    Every object is read and hashed; damaged ones are moved into quarantine. All blobs count as used
    now. Action results stay as they are.
    """

    async def run(opened: Storage) -> bool:
        parts = opened.parts
        total = 0
        async for infos in parts.objects.list():
            total += sum(info.size_bytes for info in infos)
        rebuilder = Rebuilder(parts.index, parts.objects, parts.presence)
        with progress("reading blobs", total) as advance:
            await rebuilder.run(advance)
        lines = findings_lines(rebuilder.findings, is_repaired=True)
        show(dataclasses.asdict(rebuilder.findings), lines, as_json=as_json)
        return rebuilder.findings.is_sound

    _run(config_file, data_dir, run)


@storage.command()
@_options
def stats(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Counts blobs and bytes by place, digest function, age and instance."""

    async def run(opened: Storage) -> bool:
        parts = opened.parts
        total = sum((await parts.index.total_bytes()).values())
        with progress("counting", total) as advance:
            statistics = await count(parts.index, parts.results, parts.presence, advance)
        show(vars(statistics), statistics_lines(statistics), as_json=as_json)
        return True

    _run(config_file, data_dir, run)


def _run(config_file: Path | None, data_dir: Path | None, command: Command) -> None:
    flags: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}

    async def opened() -> bool:
        # The cache of a running server is its own, and holds nothing that is not elsewhere.
        config = dataclasses.replace(
            storage_config(load_config(config_file, flags)), cache_max_size_bytes=0
        )
        async with open_storage(config, CollectorRegistry(), recovers=False) as storage:
            return await command(storage)

    try:
        is_well = asyncio.run(opened())
    except ReapiError as error:
        click.echo(f"reapi-server: {error.message}", err=True)
        sys.exit(2)
    sys.exit(0 if is_well else 1)


async def _sweep(opened: Storage, orphaned: Kind, *, dry_run: bool) -> None:
    parts = opened.parts
    written_before = time.time() - YOUNGEST_ORPHAN_SECONDS
    async for infos in find_orphans(parts.index, parts.objects, written_before=written_before):
        for info in infos:
            orphaned.add(info.size_bytes, info.name)
        if not dry_run:
            await parts.objects.delete([info.name for info in infos])


async def _expired_bytes(opened: Storage) -> int:
    last_stamp = opened.parts.presence.last_expired_stamp()
    expired = 0
    async for rows in opened.parts.index.rows():
        expired += sum(row.size for row in rows if row.used <= last_stamp)
    return expired
