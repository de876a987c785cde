"""Weighted rendezvous: fair, stable, in one order for all, and never blind to a free worker."""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from reapi.scheduler.ring import Ring, _points

KEYS = [xxh3_64_intdigest(b"action %d" % number) for number in range(10_000)]

fleets = st.dictionaries(
    st.text(min_size=1, max_size=8), st.integers(1, 10_000), min_size=1, max_size=12
)
keys = st.integers(0, 2**64 - 1)


def ring_of(weights: Mapping[str, int], free: Iterable[str] = ()) -> Ring:
    ring = Ring()
    for worker_id, weight in weights.items():
        ring.add(worker_id, weight)
    for worker_id in free:
        ring.set_free(worker_id, True)
    return ring


def equals(count: int, weight: int = 4) -> dict[str, int]:
    return {f"executor-{number}": weight for number in range(count)}


def order_of(key: int, weights: Mapping[str, int]) -> list[str]:
    """Each next one is who is preferred when those before have left."""
    ring = ring_of(weights)
    order = []
    while (worker_id := ring.preferred(key)) is not None:
        order.append(worker_id)
        ring.remove(worker_id)
    return order


def preferences(ring: Ring) -> list[str | None]:
    return [ring.preferred(key) for key in KEYS]


def test_an_empty_ring_has_nobody() -> None:
    ring = Ring()
    assert ring.preferred(7) is None
    assert ring.choose(7) is None
    assert len(ring) == 0


def test_a_new_worker_has_no_room_until_it_is_said() -> None:
    ring = ring_of({"a": 1})
    assert "a" in ring
    assert not ring.is_free("a")
    assert ring.preferred(7) == "a"
    assert ring.choose(7) is None
    ring.set_free("a", True)
    assert ring.is_free("a")
    assert ring.choose(7) == ("a", 1)


def test_a_worker_that_comes_back_has_no_room() -> None:
    ring = ring_of({"a": 1}, free=["a"])
    ring.remove("a")
    assert "a" not in ring
    ring.add("a", 2)
    assert not ring.is_free("a")
    assert ring.choose(7) is None


def test_a_worker_is_added_once() -> None:
    ring = ring_of({"a": 1})
    with pytest.raises(ValueError, match="a is in the ring"):
        ring.add("a", 2)
    ring.remove("a")
    assert len(ring) == 0
    assert ring.preferred(7) is None


@pytest.mark.parametrize("weight", [-1, 0, 1 << 16])
def test_a_weight_is_positive_and_bounded(weight: int) -> None:
    ring = Ring()
    with pytest.raises(ValueError, match=f"a cannot have the weight {weight}"):
        ring.add("a", weight)
    assert "a" not in ring


@given(fleets, st.data())
def test_only_the_workers_and_who_is_free_count_not_how_it_came_about(
    weights: dict[str, int], data: st.DataObject
) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(weights))))
    key = data.draw(keys)
    ring = ring_of(weights, free)
    other = ring_of({"gone for good": 3, "gone for now": 5}, ["gone for good"])
    for worker_id in data.draw(st.permutations(sorted(weights))):
        other.add(worker_id, weights[worker_id])
        other.set_free(worker_id, True)
    other.remove("gone for good")
    other.remove("gone for now")
    for worker_id in data.draw(st.permutations(sorted(weights))):
        other.set_free(worker_id, worker_id in free)
    assert other.preferred(key) == ring.preferred(key)
    assert other.choose(key) == ring.choose(key)


@given(fleets, keys, st.data())
def test_the_order_of_two_depends_on_nobody_else(
    weights: dict[str, int], key: int, data: st.DataObject
) -> None:
    order = order_of(key, weights)
    some = data.draw(st.sets(st.sampled_from(sorted(weights))))
    assert order_of(key, {one: weights[one] for one in some}) == [
        one for one in order if one in some
    ]


@given(fleets, keys, st.text(min_size=9, max_size=9), st.integers(1, 10_000))
def test_a_join_moves_keys_to_the_new_worker_only_and_its_leaving_moves_them_back(
    weights: dict[str, int], key: int, joiner: str, weight: int
) -> None:
    ring = ring_of(weights, weights)
    before = ring.preferred(key), ring.choose(key)
    ring.add(joiner, weight)
    assert ring.preferred(key) in (before[0], joiner)
    ring.set_free(joiner, True)
    chosen = ring.choose(key)
    assert chosen in (before[1], (joiner, 1))
    ring.remove(joiner)
    assert (ring.preferred(key), ring.choose(key)) == before


@given(fleets, keys, st.data())
def test_somebody_is_chosen_exactly_if_somebody_is_free_and_ranks_are_true(
    weights: dict[str, int], key: int, data: st.DataObject
) -> None:
    free = data.draw(st.sets(st.sampled_from(sorted(weights))))
    choice = ring_of(weights, free).choose(key)
    if not free:
        assert choice is None
        return
    assert choice is not None
    worker_id, rank = choice
    assert worker_id in free
    order = order_of(key, weights)
    if rank:
        assert order.index(worker_id) == rank - 1
        assert free.isdisjoint(order[: rank - 1])
    else:
        assert order[0] not in free


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(1, 7), keys)
def test_the_first_free_one_of_the_next_few_is_chosen(count: int, taken: int, key: int) -> None:
    weights = equals(count)
    order = order_of(key, weights)
    taken = min(taken, count // 2)
    assert ring_of(weights, order[taken:]).choose(key) == (order[taken], taken + 1)


def test_when_the_first_are_taken_the_rest_share_what_is_left() -> None:
    weights = equals(400)
    free = [f"executor-{number}" for number in range(5)]
    ring = ring_of(weights, free)
    chosen = [ring.choose(key) for key in KEYS]
    unranked = Counter(choice[0] for choice in chosen if choice and not choice[1])
    assert sorted(unranked) == free
    assert [ring.choose(key) for key in KEYS] == chosen


def test_the_only_free_worker_is_found() -> None:
    ring = ring_of(equals(100), ["executor-42"])
    assert {choice[0] for key in KEYS if (choice := ring.choose(key))} == {"executor-42"}


@pytest.mark.parametrize("count", [2, 10, 100])
def test_shares_of_equals_scatter_by_less_than_a_tenth(count: int) -> None:
    counts = Counter(preferences(ring_of(equals(count))))
    share = len(KEYS) / count
    chance = share**0.5
    assert pstdev([counts[worker_id] for worker_id in equals(count)]) < 0.1 * share + chance


def test_short_names_have_as_many_points_of_their_own() -> None:
    ids = map(str, range(3000))
    points = [point for worker_id in ids for point in _points(worker_id, 1)[1]]
    assert len(set(points)) == len(points)


@pytest.mark.parametrize("weight", [1, 2, 3, 5, 6, 7, 8, 12, 96, 100, 127, 10_000])
def test_shares_are_in_proportion_to_weights(weight: int) -> None:
    heavy = equals(8, weight)
    lighter = -(-weight // 8)
    light = {f"light-{number}": lighter for number in range(8 * weight // lighter)}
    counts = Counter(preferences(ring_of(heavy | light)))
    expected = 8 * weight / (8 * weight + len(light) * lighter)
    assert 0.9 < sum(counts[name] for name in heavy) / len(KEYS) / expected < 1.1


@pytest.mark.parametrize("count", [2, 10, 100])
def test_about_one_share_moves_when_one_of_many_joins_or_leaves(count: int) -> None:
    ring = ring_of(equals(count))
    before = preferences(ring)
    moved = []
    for number in range(min(count, 5)):
        ring.remove(f"executor-{number}")
        after = preferences(ring)
        moved.append(sum(old != new for old, new in zip(before, after, strict=True)))
        assert moved[-1] == before.count(f"executor-{number}")
        ring.add(f"executor-{number}", 4)
    assert 0.85 < sum(moved) / len(moved) * count / len(KEYS) < 1.15
    assert preferences(ring) == before
