"""How often the room of a store is measured."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.capacity import Capacity, OwnReservations
from reapi.cas.metrics import StorageMetrics
from reapi.core.errors import ResourceExhausted

GIB = 1 << 30


class MeasuredIndex:
    """Counts who asks for its totals."""

    def __init__(self) -> None:
        self.totals = {"ours": 0}
        self.measurements = 0

    async def total_bytes(self) -> Mapping[str, int]:
        self.measurements += 1
        return self.totals


class Clock:
    """A time that tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.seconds)


def capacity_of(
    index: MeasuredIndex, *, quotas: Mapping[str, int] | None = None, free_bytes: int = 100 * GIB
) -> Capacity:
    async def no_results() -> int:
        return 0

    return Capacity(
        max_size_bytes=10 * GIB,
        quotas=quotas or {},
        high_watermark=0.9,
        low_watermark=0.8,
        index=cast(Any, index),
        result_bytes=no_results,
        free_bytes=lambda: free_bytes,
        has_inodes=lambda: True,
        evictor=cast(Any, None),
        reservations=OwnReservations(),
        metrics=StorageMetrics(CollectorRegistry()),
    )


async def test_abundant_room_is_measured_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    index = MeasuredIndex()
    capacity = capacity_of(index)
    for _ in range(10):
        async with capacity.reserved(100, None):
            pass
    assert index.measurements == 1
    clock.seconds += 1
    async with capacity.reserved(100, None):
        pass
    assert index.measurements == 2


async def test_a_large_write_is_measured_each_time() -> None:
    index = MeasuredIndex()
    capacity = capacity_of(index)
    for _ in range(10):
        async with capacity.reserved(100 << 20, None):
            pass
    assert index.measurements == 10


@pytest.mark.parametrize(
    ("stored", "quota", "free_bytes"),
    [(8.5 * GIB, 10 * GIB, 100 * GIB), (GIB, 1.5 * GIB, 100 * GIB), (GIB, 10 * GIB, 0.5 * GIB)],
    ids=["of the store", "of the quota", "of the disk"],
)
async def test_room_that_gets_less_is_measured_each_time(
    stored: float, quota: float, free_bytes: float
) -> None:
    index = MeasuredIndex()
    index.totals = {"ours": int(stored)}
    capacity = capacity_of(index, quotas={"ours": int(quota)}, free_bytes=int(free_bytes))
    for _ in range(10):
        async with capacity.reserved(100, "ours"):
            pass
    assert index.measurements == 10


async def test_what_can_never_fit_is_refused_without_a_measurement() -> None:
    index = MeasuredIndex()
    with pytest.raises(ResourceExhausted, match="can never fit"):
        await capacity_of(index).reserve(11 * GIB, None)
    assert index.measurements == 0
