"""The state of a storage, in the dialect that its settings name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reapi.cas.capacity import OwnReservations, Reservations
from reapi.cas.config import StorageConfig
from reapi.cas.hash_filter import AbsenceFilter, NoFilter

from .interface import BlobIndex, InvocationTable, ResultTable
from .sqlite import SqliteState, open_sqlite

if TYPE_CHECKING:
    from reapi.core.postgresql.pool import PostgresqlPool


@dataclass(frozen=True, slots=True)
class OpenState:
    """What the storage needs of it; of the last two, one is None."""

    index: BlobIndex
    results: ResultTable
    invocations: InvocationTable
    filter: AbsenceFilter
    reservations: Reservations
    sqlite: SqliteState | None
    postgresql: "PostgresqlPool | None"


@asynccontextmanager
async def open_state(
    config: StorageConfig, data_dir: Path, *, member: int
) -> AsyncIterator[OpenState]:
    """Raises FailedPrecondition when somebody else uses the directory, or a newer version wrote the
    state; Unavailable when the database cannot be reached."""
    if config.dsn_file is None:
        sqlite = open_sqlite(
            data_dir,
            member=member,
            members=config.processes,
            survives_power_loss=config.survives_power_loss,
        )
        async with sqlite as state:
            yield OpenState(
                index=state.index,
                results=state.results,
                invocations=state.invocations,
                filter=state.filter,
                reservations=state.shared,
                sqlite=state,
                postgresql=None,
            )
        return
    # Here, since loading the driver takes 0.1 s.
    from reapi.core.postgresql.dsn import read_dsn
    from reapi.core.postgresql.pool import PostgresqlPool

    from .postgresql import PostgresqlIndex
    from .postgresql_invocations import PostgresqlInvocations
    from .postgresql_results import PostgresqlResults

    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(PostgresqlPool(read_dsn(config.dsn_file)))
        index = await stack.enter_async_context(PostgresqlIndex(pool))
        results = await stack.enter_async_context(PostgresqlResults(pool))
        invocations = await stack.enter_async_context(PostgresqlInvocations(pool))
        yield OpenState(
            index=index,
            results=results,
            invocations=invocations,
            filter=NoFilter(),
            reservations=OwnReservations(),
            sqlite=None,
            postgresql=pool,
        )
