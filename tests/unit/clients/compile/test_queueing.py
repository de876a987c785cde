"""How long compiles wait for an executor."""

import asyncio

import pytest

from reapi.clients.compile import queueing
from reapi.clients.compile.queueing import QueuePatience
from reapi.clients.model import Operation, Stage
from reapi.core.errors import Unavailable


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(queueing, "_LESS_PATIENCE_SECONDS", 0.1)


def state(stage: Stage) -> Operation:
    return Operation("operations/1", stage, None, "", None)


async def wait_for_ever(patience: QueuePatience, *stages: Stage) -> None:
    async with patience.wait() as waiting:
        for stage in stages:
            waiting.note(state(stage))
        await asyncio.Event().wait()


async def test_what_nobody_takes_is_given_up() -> None:
    with pytest.raises(Unavailable, match="no executor"):
        await wait_for_ever(QueuePatience(), Stage.QUEUED)


async def test_what_was_taken_may_take_as_long_as_it_takes() -> None:
    patience = QueuePatience()
    taken = asyncio.create_task(wait_for_ever(patience, Stage.QUEUED, Stage.EXECUTING))
    with pytest.raises(Unavailable):
        await wait_for_ever(patience, Stage.QUEUED)
    assert not taken.done()
    taken.cancel()


async def test_what_is_queued_again_is_given_up_too() -> None:
    with pytest.raises(Unavailable):
        await wait_for_ever(QueuePatience(), Stage.EXECUTING, Stage.QUEUED)


async def test_a_queue_that_moves_is_waited_in() -> None:
    patience = QueuePatience()
    async with patience.wait() as waiting, patience.wait() as other:
        first = waiting._timeout.when()
        other.note(state(Stage.EXECUTING))
        assert first is not None
        moved = waiting._timeout.when()
        assert moved is not None
        assert moved > first
        assert other._timeout.when() is None
