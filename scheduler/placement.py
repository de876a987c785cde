"""Which worker gets an action: weighted rendezvous hashing, in a tree so that it stays cheap.

Plain rendezvous hashing scores every worker for a key and takes the best: stable (a fleet that
grows to N moves 1/N of the keys) but linear in N. Here the workers hang in a tree by the digits of
the hash of their id, and the same weighted race is run among the children of each node on the way
down. A node weighs what its workers weigh, so every worker still wins its fair share. Nodes are
wide: while no two workers share a first digit the tree is plain rendezvous, and beyond that a
change of the fleet moves about 1/N of the keys on each level, of which 1,000 workers have three.

A descent that avoids full nodes finds the preferred worker when it has room, and otherwise the next
one by rank: the one that is preferred in the smallest group of neighbours with room.
"""

from collections.abc import Collection, Iterable
from math import log

from xxhash import xxh3_64_intdigest

_DIGIT_BITS = 5
_DEPTH = 5
_MASK = (1 << _DIGIT_BITS) - 1
_SCALE = 1 / (1 << 64)


class Node:
    """A group of workers, or one worker. `free` counts those with room, `weight` sums slots."""

    __slots__ = ("children", "free", "seed", "weight", "worker_id")

    def __init__(self, name: bytes, worker_id: str = "") -> None:
        self.seed = xxh3_64_intdigest(name)
        self.weight = 0
        self.free = 0
        self.worker_id = worker_id
        self.children: dict[int | str, Node] = {}


class Placement:
    """The workers of one pool that take leases; `root` races against the roots of other pools."""

    def __init__(self, name: bytes) -> None:
        self.root = Node(name)
        self._paths: dict[str, list[Node]] = {}

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._paths

    def add(self, worker_id: str, weight: int) -> None:
        """Adds a worker as full; see `set_free`."""
        node = self.root
        path = [node]
        digits = xxh3_64_intdigest(worker_id.encode())
        prefix = 1
        for _ in range(_DEPTH):
            digit = digits & _MASK
            digits >>= _DIGIT_BITS
            prefix = prefix << _DIGIT_BITS | digit
            child = node.children.get(digit)
            if child is None:
                child = node.children[digit] = Node(b"node %d" % prefix)
            path.append(child)
            node = child
        leaf = node.children[worker_id] = Node(b"worker " + worker_id.encode(), worker_id)
        path.append(leaf)
        for node in path:
            node.weight += weight
        self._paths[worker_id] = path

    def remove(self, worker_id: str) -> None:
        """Forgets a worker; unknown ones are ignored."""
        path = self._paths.pop(worker_id, None)
        if path is None:
            return
        leaf = path[-1]
        weight, free = leaf.weight, leaf.free
        for node in path:
            node.weight -= weight
            node.free -= free
        for parent, child in zip(path[-2::-1], path[:0:-1], strict=True):
            if child.weight:
                break
            parent.children = {
                key: other for key, other in parent.children.items() if other is not child
            }

    def set_free(self, worker_id: str, is_free: bool) -> None:
        """Says whether the worker has a free slot."""
        path = self._paths[worker_id]
        change = is_free - path[-1].free
        if change:
            for node in path:
                node.free += change

    def is_free(self, worker_id: str) -> bool:
        return bool(self._paths[worker_id][-1].free)


def choose(key: bytes, pools: Iterable[Placement]) -> str | None:
    """The best worker with room for the action `key` in these pools; None when all are full."""
    node = _race(key, [pool.root for pool in pools])
    while node is not None and node.children:
        node = _race(key, node.children.values())
    return node.worker_id if node is not None else None


def _race(key: bytes, nodes: Collection[Node]) -> Node | None:
    """The weighted rendezvous of `key` among the nodes with room.

    Each node draws an exponential time with its weight as the rate, and the earliest wins: the
    textbook form in which one node's weight never changes the order of the others.
    """
    best: Node | None = None
    best_speed = float("-inf")
    for node in nodes:
        if node.free:
            if len(nodes) == 1:
                return node
            # Minus the time, which saves a negation in the hottest line of the core.
            speed = log((xxh3_64_intdigest(key, node.seed) + 1) * _SCALE) / node.weight
            if speed > best_speed or (best and speed == best_speed and node.seed < best.seed):
                best, best_speed = node, speed
    return best
