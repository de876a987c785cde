"""When a failed call is tried again."""

import asyncio

import pytest

from reapi.clients.retry import Retries, is_retriable
from reapi.core.errors import (
    Aborted,
    BlobsMissing,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ReapiError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return delays


@pytest.mark.parametrize(
    "error", [Unavailable(), Aborted(), Cancelled(), ResourceExhausted(retry_after_seconds=1)]
)
def test_passing_failures_are_tried_again(error: ReapiError) -> None:
    assert is_retriable(error)


@pytest.mark.parametrize(
    "error",
    [
        ResourceExhausted(),
        InvalidArgument(),
        NotFound(),
        BlobsMissing([]),
        DataLoss(),
        DeadlineExceeded(),
        Unimplemented(),
    ],
)
async def test_lasting_failures_are_not(error: ReapiError, slept: list[float]) -> None:
    with pytest.raises(type(error)):
        await Retries(60).wait(error)
    assert slept == []


async def test_delays_grow_up_to_a_bound(slept: list[float]) -> None:
    retries = Retries(10_000)
    for _ in range(40):
        await retries.wait(Unavailable())
    assert all(delay <= min(5.0, 0.05 * 2**index) for index, delay in enumerate(slept))
    assert max(slept) > 0.05


async def test_progress_starts_the_patience_anew(slept: list[float]) -> None:
    retries = Retries(10_000)
    for _ in range(40):
        await retries.wait(Unavailable())
        retries.progressed()
    assert max(slept) <= 0.05


async def test_G5_no_attempt_is_made_before_the_time_that_the_server_named(
    slept: list[float],
) -> None:
    await Retries(60).wait(Unavailable(retry_after_seconds=20))
    assert 20 <= slept[0] <= 20.05


async def test_an_attempt_that_would_be_too_late_is_not_waited_for(slept: list[float]) -> None:
    with pytest.raises(Unavailable):
        await Retries(60).wait(Unavailable(retry_after_seconds=61))
    assert slept == []
