"""Weighted rendezvous hashing: fair, stable, and never blind to a free worker."""

from collections import Counter

import pytest
from xxhash import xxh3_64_digest

from reapi.scheduler.placement import Placement, choose

KEYS = [xxh3_64_digest(b"action %d" % number) for number in range(4000)]


def fleet(*worker_ids: str, weight: int = 1) -> Placement:
    placement = Placement(b"pool")
    for worker_id in worker_ids:
        placement.add(worker_id, weight)
        placement.set_free(worker_id, True)
    return placement


def choices(*pools: Placement) -> list[str | None]:
    return [choose(key, pools) for key in KEYS]


def names(count: int) -> list[str]:
    return [f"worker-{number}" for number in range(count)]


def test_an_empty_or_full_fleet_has_nobody() -> None:
    assert choose(KEYS[0], [Placement(b"pool")]) is None
    placement = fleet("a")
    placement.set_free("a", False)
    assert choose(KEYS[0], [placement]) is None


def test_the_order_of_joining_does_not_matter() -> None:
    assert choices(fleet(*names(30))) == choices(fleet(*reversed(names(30))))


def test_every_worker_gets_its_share() -> None:
    for count in (2, 7, 50):
        counts = Counter(choices(fleet(*names(count))))
        share = len(KEYS) / count
        assert all(0.5 * share < counts[name] < 1.6 * share for name in names(count))


def test_a_heavier_worker_gets_more() -> None:
    placement = fleet(*names(4))
    placement.add("big", 4)
    placement.set_free("big", True)
    assert 0.43 < Counter(choices(placement))["big"] / len(KEYS) < 0.57


@pytest.mark.parametrize(("count", "most_shares"), [(3, 1.2), (20, 1.6), (300, 3)])
def test_a_scale_step_moves_about_the_share_of_one_worker(count: int, most_shares: float) -> None:
    placement = fleet(*names(count))
    before = choices(placement)
    placement.add("new", 1)
    placement.set_free("new", True)
    after = choices(placement)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    share = len(KEYS) / (count + 1)
    assert 0.5 * share < after.count("new") <= moved < most_shares * share
    placement.remove("new")
    assert choices(placement) == before


def test_a_full_worker_moves_its_own_keys_only_and_gets_them_back() -> None:
    placement = fleet(*names(20))
    before = choices(placement)
    placement.set_free("worker-3", False)
    during = choices(placement)
    assert all((old == "worker-3") == (old != new) for old, new in zip(before, during, strict=True))
    placement.set_free("worker-3", True)
    assert choices(placement) == before


def test_the_only_free_worker_is_found() -> None:
    placement = fleet(*names(100))
    for name in names(100):
        if name != "worker-42":
            placement.set_free(name, False)
    assert set(choices(placement)) == {"worker-42"}


def test_several_pools_share_by_weight() -> None:
    small, large = Placement(b"small"), Placement(b"large")
    for pool, count in ((small, 2), (large, 6)):
        for number in range(count):
            name = f"{number} of {count}"
            pool.add(name, 1)
            pool.set_free(name, True)
    counts = Counter(choices(small, large))
    assert len(counts) == 8
    assert all(300 < count < 700 for count in counts.values())


def test_removing_everything_leaves_nothing_behind() -> None:
    placement = fleet(*names(50))
    for name in names(50):
        placement.remove(name)
    placement.remove("unknown")
    assert not placement.root.children
    assert placement.root.weight == placement.root.free == 0
