"""The workers that can ever run one kind of execution, in an order of preference for each key.

This is weighted rendezvous hashing, which asks every worker how much it wants a key, in a form that
finds the one that wants it most without asking all. Hashes of its id give a worker some points on a
circle, a key has a few places there, and how much they want each other is how near the first of the
points comes clockwise behind one of the places. That concerns the key and this worker only, as in
any rendezvous, and the nearest point of all is found by bisection. Several places level the shares
as more points would, but take no memory.

The points of twice as many win twice as often, and so do points whose distances count half. Workers
have points in proportion to their weight until these are twice the fewest; from there on it begins
anew on another circle, where distances count half of what they do on the one before.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import islice

from xxhash import xxh3_64_intdigest

from .circle import Circle

_FEWEST_POINTS = 32

_MULTIPLIERS = (1, 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Of a key, for its places: odd, so that they spread as evenly as the keys."""

_MASK = (1 << 64) - 1

_MOST_WEIGHT_BITS = 16

_MOST_RANKED = 8
_MOST_POINTS_PASSED = 64


class Ring:
    """A rendezvous of workers and keys: each key has the workers in an order of its own.

    The order of two workers depends on nothing but the key, the two and their weights. A worker is
    preferred by a share of the keys in proportion to its weight; one that joins takes over its
    share from the others in proportion, and one that leaves gives its share back to them. Shares
    scatter by chance, with a standard deviation of about 7 % of the share.
    """

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}
        # By the power of two that distances on each are multiplied by.
        self._circles: dict[int, Circle] = {}
        self._free: set[str] = set()
        self._free_points = Circle()

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._weights

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def add(self, worker_id: str, weight: int) -> None:
        """Adds a new worker as one without room; its weight is from 1 to 65,535."""
        if worker_id in self._weights:
            raise ValueError(f"{worker_id} is in the ring already")
        if not 0 < weight < 1 << _MOST_WEIGHT_BITS:
            raise ValueError(f"{worker_id} cannot have the weight {weight}")
        scale, points = _points(worker_id, weight)
        self._weights[worker_id] = weight
        circle = self._circles.setdefault(scale, Circle())
        for point in points:
            circle.add(point, worker_id)

    def remove(self, worker_id: str) -> None:
        """Forgets a worker."""
        scale, points = _points(worker_id, self._weights[worker_id])
        self.set_free(worker_id, False)
        del self._weights[worker_id]
        circle = self._circles[scale]
        for point in points:
            circle.remove(point, worker_id)
        if not circle:
            del self._circles[scale]

    def set_free(self, worker_id: str, is_free: bool) -> None:
        """Says whether the worker has room now."""
        if is_free == (worker_id in self._free):
            return
        point = _point(worker_id, 0)
        if is_free:
            self._free.add(worker_id)
            self._free_points.add(point, worker_id)
        else:
            self._free.remove(worker_id)
            self._free_points.remove(point, worker_id)

    def is_free(self, worker_id: str) -> bool:
        return worker_id in self._free

    def preferred(self, key: int) -> str | None:
        """The first in the order of `key`, a hash of 64 bits, whether it has room or not."""
        places = [key * multiplier & _MASK for multiplier in _MULTIPLIERS]
        nearest = min(
            (
                (distance << scale, worker_id)
                for scale, circle in self._circles.items()
                for distance, worker_id in map(circle.nearest, places)
            ),
            default=None,
        )
        return None if nearest is None else nearest[1]

    def choose(self, key: int, preferred: str | None = None) -> tuple[str, int] | None:
        """The first that has room, and its rank from 1; the rank is 0 if it was not worth counting.

        None when no worker has room. `preferred` is that of the key, if the caller has it already.
        """
        if not self._free:
            return None
        preferred = preferred or self.preferred(key)
        if preferred in self._free:
            return preferred, 1
        passed: set[str] = set()
        for _, worker_id in islice(self._by_nearness(key), _MOST_POINTS_PASSED):
            passed.add(worker_id)
            if worker_id in self._free:
                return worker_id, len(passed)
            if len(passed) == _MOST_RANKED:
                break
        return self._free_points.nearest(key)[1], 0

    def _by_nearness(self, key: int) -> Iterator[tuple[int, str]]:
        """The owners of all points, with their distances to the places of the key."""
        return merge(
            *(
                _walk(circle, key * multiplier & _MASK, scale)
                for scale, circle in self._circles.items()
                for multiplier in _MULTIPLIERS
            )
        )


def _walk(circle: Circle, place: int, scale: int) -> Iterator[tuple[int, str]]:
    for distance, worker_id in circle.clockwise(place):
        yield distance << scale, worker_id


def _points(worker_id: str, weight: int) -> tuple[int, list[int]]:
    """The scale of the circle of a worker, and its points there."""
    magnitude = weight.bit_length() - 1
    count = round(_FEWEST_POINTS * weight / (1 << magnitude))
    points = [_point(worker_id, number) for number in range(count)]
    return _MOST_WEIGHT_BITS - magnitude, points


def _point(worker_id: str, number: int) -> int:
    # The number is no seed, since short names with small seeds have the same hashes too often.
    return xxh3_64_intdigest(worker_id.encode() + bytes((number,)))
