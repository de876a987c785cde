"""What every BlobIndex must do when rows go, and when all of them are looked at."""

import asyncio
from contextlib import AsyncExitStack

from reapi.cas.state.interface import EVICTION_BATCH, BlobIndex
from tests.contracts.test_blob_index import (
    EVERYTHING,
    Open,
    add,
    entry,
    evict,
    index,
    key,
    new,
    open_index,
    other,
)

__all__ = ["index", "open_index", "other"]


class TestEvict:
    async def test_the_oldest_go_first_and_no_more_than_needed(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        for number in (3, 1, 4, 2):
            await add(index, number, used=number)
        gone = await evict(index, 101, 10)
        assert [one.key for one in sorted(gone, key=lambda one: one.used)] == [key(1), key(2)]
        assert set(await other.find([key(n) for n in range(5)])) == {key(3), key(4)}
        assert await other.total_bytes() == {"": 200}

    async def test_what_was_used_later_stays(self, index: BlobIndex) -> None:
        await add(index, 1, used=10)
        await add(index, 2, used=11)
        assert [one.key for one in await evict(index, EVERYTHING, 10)] == [key(1)]
        assert await evict(index, EVERYTHING, 10) == []
        assert await evict(index, 0, 11) == []

    async def test_batches_are_bounded(self, index: BlobIndex) -> None:
        await add(index, *range(2 * EVICTION_BATCH + 50), used=1)
        async with index.evicting():
            sizes = [len(batch) async for batch in index.evict(EVERYTHING, 1)]
        assert sum(sizes) == 2 * EVICTION_BATCH + 50
        assert max(sizes) <= EVICTION_BATCH

    async def test_what_left_is_listed_until_it_is_forgotten(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await add(index, 1, 2)
        await index.add_inline({key(3): b"three"}, 10, 1, "")
        inline = await entry(index, 3)
        assert inline is not None
        assert inline.inline_id is not None
        gone = await evict(index, EVERYTHING, 10)
        assert sorted(await other.leaving()) == sorted(gone)
        assert len(gone) == 3
        assert await other.read_inline([inline.inline_id]) == {inline.inline_id: b"three"}
        await other.forget([one for one in gone if one.key != key(1)])
        assert [one.key for one in await index.leaving()] == [key(1)]
        assert await index.read_inline([inline.inline_id]) == {}
        await index.forget(gone)
        await index.forget([])
        assert list(await index.leaving()) == []

    async def test_a_key_may_come_back_and_leave_again_before_it_is_forgotten(
        self, index: BlobIndex
    ) -> None:
        await add(index, 1)
        (first,) = await evict(index, EVERYTHING, 10)
        assert await index.add_objects([new(1, suffix=".0000000000000aaa")], 10, 1, "") == []
        (second,) = await evict(index, EVERYTHING, 10)
        assert sorted(await index.leaving()) == sorted((first, second))
        await index.forget([first])
        assert list(await index.leaving()) == [second]

    async def test_only_rows_of_the_owner_go(self, index: BlobIndex) -> None:
        await add(index, 1, used=1, owner="a")
        await add(index, 2, used=2, owner="b")
        await add(index, 3, used=3, owner="b")
        assert await index.total_bytes() == {"a": 100, "b": 200}
        assert [one.key for one in await evict(index, 100, 10, owner="b")] == [key(2)]
        assert await index.total_bytes() == {"a": 100, "b": 100}
        assert await evict(index, 100, 10, owner="nobody") == []

    async def test_only_one_evicts_at_a_time(self, index: BlobIndex, other: BlobIndex) -> None:
        inside = 0

        async def enter(one: BlobIndex) -> None:
            nonlocal inside
            async with one.evicting():
                inside += 1
                assert inside == 1
                await one.find([key(1)])
                inside -= 1

        await asyncio.gather(*(enter(one) for one in (index, other) * 3))

    async def test_who_gives_up_waiting_leaves_the_way_free(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        async def wait() -> None:
            async with other.evicting():
                pass

        async with index.evicting():
            waiting = asyncio.create_task(wait())
            await index.find([key(1)])
            waiting.cancel()
            await asyncio.wait([waiting])
        await wait()

    async def test_a_row_is_either_touched_or_gone(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        """A touch that says True is a promise which an eviction at the same time keeps."""
        for step in range(0, 1000, 100):
            keys = [key(n) for n in range(step, step + 100)]
            await add(index, *range(step, step + 100), used=1)
            parts = [keys[n : n + 10] for n in range(0, 100, 10)]
            evicted, touched = await asyncio.gather(
                evict(index, EVERYTHING, 1),
                asyncio.gather(*(other.touch(part, 5) for part in parts)),
            )
            found = await index.find(keys)
            gone = {one.key for one in evicted}
            assert gone.isdisjoint(found)
            assert len(gone) + len(found) == 100
            for part, was_touched in zip(parts, touched, strict=True):
                assert was_touched == gone.isdisjoint(part)
            await evict(index, EVERYTHING, 5)

    async def test_a_key_added_during_eviction_is_there_afterwards(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        for step in range(1, 10):
            objects = [new(n, suffix=f".{step:08x}{n:08x}") for n in range(50)]
            await asyncio.gather(
                evict(index, EVERYTHING, step - 1), other.add_objects(objects, step, 1, "")
            )
            found = await index.find([one.key for one in objects])
            assert {one.used for one in found.values()} == {step}
            assert len(found) == 50
        assert await index.total_bytes() == {"": 5000}


class TestOverview:
    async def test_the_oldest_use(self, index: BlobIndex) -> None:
        assert await index.oldest_used() is None
        await add(index, 1, used=12)
        await add(index, 2, used=11, owner="b")
        assert await index.oldest_used() == 11
        assert await index.oldest_used("") == 12
        assert await index.oldest_used("b") == 11
        assert await index.oldest_used("nobody") is None

    async def test_bytes_by_time_of_use_are_those_of_all_owners(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        async with index.evicting():
            assert list(await index.sizes_by_use(0, 100)) == []
        await add(index, 1, 2, used=11)
        await add(other, 3, used=11, owner="b")
        await add(other, 4, used=12, owner="b")
        await add(index, 5, used=13)
        size = new(1).size
        async with index.evicting():
            assert list(await index.sizes_by_use(10, 12)) == [(11, 3 * size), (12, size)]
            assert list(await index.sizes_by_use(11, 13)) == [(12, size), (13, size)]

    async def test_a_check_finds_nothing_wrong_and_changes_nothing(self, index: BlobIndex) -> None:
        await add(index, 1)
        before = await index.find([key(1)])
        await index.check()
        assert await index.find([key(1)]) == before

    async def test_rows_come_in_the_order_of_their_keys(self, index: BlobIndex) -> None:
        numbers = range(2500)
        await add(index, *numbers)
        keys = sorted(map(key, numbers))
        assert [one.key async for batch in index.rows() for one in batch] == keys
        assert [one.key async for batch in index.rows(keys[2000]) for one in batch] == keys[2001:]

    async def test_rows_can_change_meanwhile(self, index: BlobIndex) -> None:
        await add(index, *range(2500))
        async for batch in index.rows():
            for one in batch[:1]:
                assert await index.remove(one)
            await add(index, 10_000 + batch[0].size)
            break
        assert len([one async for batch in index.rows() for one in batch]) == 2500

    async def test_bytes_are_counted_by_owner(self, index: BlobIndex, other: BlobIndex) -> None:
        await asyncio.gather(
            *(add((index, other)[n % 2], n, owner="ab"[n % 2]) for n in range(40)),
            index.add_inline({key(100): b"12345"}, 1, 1, "c"),
        )
        assert await index.total_bytes() == {"a": 2000, "b": 2000, "c": 5}


async def test_the_state_outlives_its_processes(open_index: Open) -> None:
    async with AsyncExitStack() as stack:
        index = await stack.enter_async_context(open_index())
        await add(index, 1, 2)
        await index.add_inline({key(3): b"three"}, 10, 1, "")
        await evict(index, 1, 10)
    async with open_index() as index:
        assert len(await index.find([key(n) for n in (1, 2, 3)])) == 2
        assert len(await index.leaving()) == 1
