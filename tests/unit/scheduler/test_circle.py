"""Points on a circle, against a plain sorted list of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.scheduler import circle as module
from reapi.scheduler.circle import Circle

CIRCUMFERENCE = 1 << 64

# Few positions and owners, so that points meet and come back.
positions = st.one_of(st.integers(0, 8), st.sampled_from([1 << 32, CIRCUMFERENCE - 1]))
points = st.tuples(positions, st.sampled_from("abcdefgh"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_IN_BLOCK", 3)


def circle_of(toggled: list[tuple[int, str]]) -> tuple[Circle, list[tuple[int, str]]]:
    """Adds each point that is not there, removes each that is; the points that remain."""
    circle, present = Circle(), set[tuple[int, str]]()
    for point in toggled:
        if point in present:
            circle.remove(*point)
        else:
            circle.add(*point)
        present ^= {point}
    return circle, sorted(present)


@given(st.lists(points, max_size=60), positions)
def test_points_come_in_their_order_whatever_came_and_went(
    toggled: list[tuple[int, str]], start: int
) -> None:
    circle, present = circle_of(toggled)
    behind = [point for point in present if point[0] >= start]
    before = [point for point in present if point[0] < start]
    expected = [((at - start) % CIRCUMFERENCE, owner) for at, owner in behind + before]
    assert list(circle.clockwise(start)) == expected
    assert bool(circle) == bool(present)
    if present:
        assert circle.nearest(start) == expected[0]


@given(st.lists(points, unique=True, min_size=30, max_size=80), st.integers(1, 10))
def test_no_block_is_empty_or_outgrows_its_bound(points: list[tuple[int, str]], kept: int) -> None:
    circle, _ = circle_of(points)
    assert all(0 < len(block) <= 3 for block in circle._owners)
    for point in points[kept:]:
        circle.remove(*point)
    assert all(0 < len(block) <= 3 for block in circle._owners)
    assert len(circle._borders) == len(circle._owners) - 1 == len(circle._positions) - 1
