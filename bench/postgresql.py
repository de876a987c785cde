"""State in PostgreSQL, which shares all cores with the server and the load."""

import hashlib
import os
import time
from pathlib import Path

import asyncpg

from reapi.core.digest import Digest
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.postgresql import PostgresqlServer, find_programs

from .comparison import ROUNDS, Comparison, Figure, compare, in_turns, rate, rate_of
from .load import Operation
from .scenarios import find_missing, result_hits
from .servers import ALL_CORES, FRONTEND, running_server
from .wire import Wire

_DIGESTS = 1000
_CALLS = 150
_FIND_IN_FLIGHT = 8
_RESULT_IN_FLIGHT = 32
_PRESENT = _CALLS * ROUNDS * _DIGESTS // 2
"""Known blobs, each to be asked for once; as many again were last used in an earlier hour."""
_BLOB_BYTES = 1000
_HOUR = 3600

_FILL = """
    INSERT INTO blob (key, size, used, suffix, stored, owner)
    SELECT '\\x01'::bytea || sha256(int8send(number)), $3, $4, '.0123456789abcdef', $5, ''
    FROM generate_series($1::bigint, $2) AS number
"""
_FIND = "SELECT key, size, used, inline_id, suffix FROM blob WHERE key = ANY($1::bytea[])"
_FIND_RESULT = "SELECT key, version FROM result WHERE key = $1"


async def measure_postgresql(folder: Path) -> list[Comparison]:
    """FindMissing and GetActionResult; the limits are what the driver alone can ask for."""
    programs = find_programs()
    if programs is None:
        print("  left out: PostgreSQL is not installed")
        return []
    with PostgresqlServer(programs) as postgresql:
        dsn = await postgresql.create_database()
        dsn_file = folder / "dsn"
        dsn_file.write_text(dsn.url)
        settings: dict[str, str | Path] = {
            "STORAGE__STATE__KIND": "postgresql",
            "STORAGE__STATE__DSN_FILE": dsn_file,
        }
        with running_server(
            folder / "data", ALL_CORES, roles=FRONTEND, settings=settings
        ) as server:
            await _fill(dsn)
            async with Wire(server.target) as wire, _pool(dsn) as pool:
                return [*await _measure_find(wire, pool), *await _measure_results(wire, pool)]


def _pool(dsn: Dsn) -> asyncpg.Pool:
    return asyncpg.create_pool(
        dsn.url, min_size=4, max_size=4, server_settings={"enable_seqscan": "off"}
    )


async def _fill(dsn: Dsn) -> None:
    """Rows as those of stored blobs; nobody reads their bytes."""
    now = int(time.time())
    connection = await asyncpg.connect(dsn.url)
    try:
        for start, used in ((0, now + _HOUR), (_PRESENT, now - _HOUR)):
            end = start + _PRESENT - 1
            await connection.execute(_FILL, start, end, _BLOB_BYTES, used, now)
        await connection.execute("VACUUM ANALYZE blob")
    finally:
        await connection.close()


def _digests(call: int) -> list[Digest]:
    """1,000 that no other call has, half of them known."""
    start = call * _DIGESTS // 2
    hashes = [
        hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
        for number in range(start, start + _DIGESTS // 2)
    ]
    hashes += [os.urandom(32).hex() for _ in range(_DIGESTS // 2)]
    return [Digest(each, _BLOB_BYTES) for each in hashes]


def _find_fresh(wire: Wire, first_call: int) -> Operation:
    """Each of `_CALLS` * ROUNDS operations has digests that the server has never met."""
    requests = iter(
        [
            re_pb2.FindMissingBlobsRequest(
                blob_digests=[digest.to_message() for digest in _digests(call)]
            ).SerializeToString()
            for call in range(first_call, first_call + _CALLS * ROUNDS)
        ]
    )

    async def find(_: int) -> None:
        await wire.find_missing(next(requests))

    return find


async def _measure_find(wire: Wire, pool: asyncpg.Pool) -> list[Comparison]:
    keys = [[digest.key for digest in _digests(call)] for call in range(_CALLS)]

    async def alone(number: int) -> None:
        await pool.fetch(_FIND, keys[number])

    def figure(operation: Operation) -> Figure:
        return rate_of(_CALLS, operation, _FIND_IN_FLIGHT, _DIGESTS)

    taken = await in_turns(
        {
            "asyncpg": figure(alone),
            "first time": figure(_find_fresh(wire, 0)),
            "first time in the hour": figure(_find_fresh(wire, _CALLS * ROUNDS)),
            "repeated": figure(await find_missing(_DIGESTS)(wire)),
        }
    )
    limits = taken.pop("asyncpg")
    return [
        compare(
            f"PostgreSQL: FindMissing of 1,000, {what}",
            "/s",
            figures,
            limits,
            "the same query with asyncpg alone",
            aim=0 if what == "first time in the hour" else 150_000,
            is_ratio=False,
        )
        for what, figures in taken.items()
    ]


async def _measure_results(wire: Wire, pool: asyncpg.Pool) -> list[Comparison]:
    hits = await result_hits(wire)
    ((key,),) = await pool.fetch("SELECT key FROM result LIMIT 1")

    async def alone(_: int) -> None:
        await pool.fetch(_FIND_RESULT, key)

    taken = await in_turns(
        {"asyncpg": rate(alone, _RESULT_IN_FLIGHT), "hits": rate(hits, _RESULT_IN_FLIGHT)}
    )
    return [
        compare(
            f"PostgreSQL: GetActionResult, hit, {_RESULT_IN_FLIGHT} in flight",
            "/s",
            taken["hits"],
            taken["asyncpg"],
            "a query each with asyncpg alone",
            aim=1200,
            is_ratio=False,
        )
    ]
