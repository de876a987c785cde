"""What is stored, counted."""

from collections import Counter
from dataclasses import dataclass, field

from reapi.cas.presence import Presence
from reapi.cas.state.interface import BlobIndex, ResultQuery, ResultTable
from reapi.core.digest import function_of_number

from .findings import Advance

_RESULTS_PER_STEP = 500
_AGES = ((3600, "1 hour"), (86400, "1 day"), (7 * 86400, "1 week"), (30 * 86400, "1 month"))


@dataclass
class Statistics:
    """Blobs and bytes by where they lie, by digest function and by the time since the last use.

    `promised` is what may not be evicted now. The ages are upper bounds, by hours.
    """

    blobs: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    bytes_by_instance: dict[str, int] = field(default_factory=dict)
    results: int = 0
    result_bytes: int = 0


async def count(
    index: BlobIndex, results: ResultTable, presence: Presence, advance: Advance
) -> Statistics:
    """Looks at every row; counts bytes of blobs."""
    statistics = Statistics()
    now, last_expired = presence.now(), presence.last_expired_stamp()
    async for rows in index.rows():
        for row in rows:
            groups = (
                "inline" if row.inline_id is not None else "objects",
                function_of_number(row.key[0]).name,
                f"used within {_age(now - row.used)}",
                *(("promised",) if row.used > last_expired else ()),
            )
            for group in groups:
                statistics.blobs[group] += 1
                statistics.bytes[group] += row.size
        advance(sum(row.size for row in rows))
    statistics.bytes_by_instance = dict(await index.total_bytes())
    after = b""
    while found := await results.select(ResultQuery(), after, _RESULTS_PER_STEP):
        statistics.results += len(found)
        after = found[-1][0]
    statistics.result_bytes = await results.total_bytes()
    return statistics


def _age(seconds: int) -> str:
    return next((name for bound, name in _AGES if seconds <= bound), "longer ago")
